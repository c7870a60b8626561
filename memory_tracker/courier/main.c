#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/command.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "courier/courier.h"
#include "store/module.h"

static const struct mt_command command = {
    .name = "memory-courier",
    .operands = "",
    .summary = "Delivers the records that wait in the outbox to the store. memory-sampler runs it.",
    .examples = "  memory-courier --spool ./spool.db --store sqlite:./memory.db\n",
    .notes =
        "It takes all settings of memory-sampler, which executes it with its own options where\n"
        "the store is a server's. It ends after three quarters of INTERVAL at the latest; what\n"
        "still waits then is the next run's. memory-tracker spool shows and tends what waits.\n\n"
        "Exit status: 0 delivered, or still waiting (with a warning that says why), or another\n"
        "courier is at work; 1 failed; 2 usage; 3 outbox unavailable; 4 bad configuration.\n",
    .program = MT_PROGRAM_COURIER,
};

int main(int argc, char **argv)
{
    int64_t start_ms = mt_clock_monotonic_ms();
    struct mt_config *config = NULL;
    struct mt_arguments arguments;
    struct mt_error error = {0};
    enum mt_err result;
    int status = EXIT_SUCCESS;

    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN);
    (void)umask(027);
    mt_interrupt_catch();
    mt_store_use_modules();

    result = mt_command_parse(&command, argc, argv, environ, &config, &arguments, &error);
    if (result == MT_OK && !arguments.answered)
        result = mt_config_start_log(config, command.name, &error);
    if (result == MT_OK && !arguments.answered)
        result = mt_courier_run(config, start_ms, &error);
    if (result != MT_OK)
        status = mt_command_fail(&command, &error);
    mt_config_free(config);
    mt_log_close();
    return status;
}
