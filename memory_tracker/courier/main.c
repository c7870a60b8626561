#include "base/command.h"
#include "base/interrupt.h"
#include "courier/courier.h"
#include "store/module.h"

enum { OPTION_TEND };

static const struct mt_option options[] = {
    [OPTION_TEND] = {"tend", NULL,
                     "deliver nothing, but seal finished days and apply RETENTION; memory-sampler "
                     "asks for that once an hour, where there is anything to do"},
    {0},
};

static const struct mt_command command = {
    .name = "memory-courier",
    .operands = "",
    .summary = "Delivers the records that wait in the outbox to the store. memory-sampler runs it.",
    .examples = "  memory-courier --spool ./spool.db --store sqlite:./memory.db\n",
    .notes =
        "It takes all settings of memory-sampler, which executes it with its own options where\n"
        "the store is a server's. It ends after three quarters of INTERVAL at the latest; what\n"
        "still waits then is the next run's. memory-tracker spool shows and tends what waits.\n"
        "Once an hour, when nothing waits any more, it applies RETENTION to a MongoDB store.\n\n"
        "Exit status: 0 delivered, or still waiting (with a warning that says why), or another\n"
        "courier is at work; 1 failed; 2 usage; 3 outbox unavailable; 4 bad configuration.\n",
    .program = MT_PROGRAM_COURIER,
    .options = options,
};

static enum mt_err work(const struct mt_run *run, struct mt_error *error)
{
    enum mt_err result = mt_config_start_log(run->config, command.name, error);

    if (result != MT_OK)
        return result;
    if (run->arguments->option[OPTION_TEND] != NULL)
        return mt_courier_tend(run->config, run->start_ms, error);
    return mt_courier_run(run->config, run->start_ms, error);
}

int main(int argc, char **argv)
{
    mt_command_work_unattended();
    mt_interrupt_catch();
    mt_store_use_modules();
    return mt_command_main(&command, argc, argv, work);
}
