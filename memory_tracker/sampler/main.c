#include <malloc.h>

#include "base/command.h"
#include "sampler/health.h"
#include "sampler/sampler.h"
#include "store/store.h"

enum { HEAP_BYTES = 512 * 1024 };

enum { OPTION_PRINT, OPTION_HEALTH_CHECK };

static const struct mt_option options[] = {
    [OPTION_PRINT] = {"print", NULL, "show the record as a line of JSON; store nothing"},
    [OPTION_HEALTH_CHECK] = {"health-check", NULL,
                             "say how old the last record is, by HEALTH_FILE; exit status 1 if "
                             "it is too old"},
    {0},
};

static const struct mt_command command = {
    .name = "memory-sampler",
    .operands = "",
    .summary = "Writes down what this machine's memory looks like now: one record, then it ends.",
    .examples = "  memory-sampler --print\n"
                "  memory-sampler --store sqlite:./memory.db --spool ./spool.db\n"
                "  memory-sampler --health-file /run/memory-tracker/healthy --health-check\n"
                "  * * * * * memory-sampler        (a line of a crontab)\n",
    .notes =
        "A store that is locked, read-only or broken does not lose the record: it waits in the\n"
        "outbox, and a later run delivers it. A record for a server's store (mongodb, http) goes\n"
        "into the outbox first; memory-courier, which lies beside this program, delivers it.\n\n"
        "Exit status: 0 stored, or in the outbox (with a warning); 1 failed; 2 usage;\n"
        "3 store unavailable and outbox, too; 4 bad configuration.\n",
    .program = MT_PROGRAM_SAMPLER,
    .options = options,
    .without_secrets = 1U << OPTION_HEALTH_CHECK,
};

static enum mt_err check_health(const struct mt_config *config, struct mt_error *error)
{
    enum mt_err result = mt_sampler_check_health(config, error);

    return result == MT_OK ? mt_command_finish_output(error) : result;
}

static enum mt_err sample(const struct mt_run *run, bool print, struct mt_error *error)
{
    struct mt_record record;
    enum mt_err result = mt_sampler_take(run->config, &record, error);

    if (result != MT_OK)
        return result;
    if (!print)
        return mt_sampler_keep(run->config, &record, run->start_ms, run->argv, error);
    result = mt_sampler_print(&record, error);
    return result == MT_OK ? mt_command_finish_output(error) : result;
}

static enum mt_err work(const struct mt_run *run, struct mt_error *error)
{
    bool print = run->arguments->option[OPTION_PRINT] != NULL;
    enum mt_err result;

    if (print && run->arguments->option[OPTION_HEALTH_CHECK] != NULL)
        return mt_error_set(error, MT_ERR_USAGE, "--print and --health-check exclude each other");
    /* what it finds is for the one who asks, not for the log */
    if (run->arguments->option[OPTION_HEALTH_CHECK] != NULL)
        return check_health(run->config, error);
    result = mt_config_start_log(run->config, command.name, error);
    return result == MT_OK ? sample(run, print, error) : result;
}

int main(int argc, char **argv)
{
    mt_command_work_unattended();
    mt_store_one_thread();
    /* one step of the heap instead of many */
    (void)mallopt(M_TOP_PAD, HEAP_BYTES);
    return mt_command_main(&command, argc, argv, work);
}
