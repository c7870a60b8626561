#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/command.h"
#include "base/log.h"
#include "sampler/sampler.h"

enum { OPTION_PRINT };

static const struct mt_option options[] = {
    [OPTION_PRINT] = {"print", NULL, "show the record as a line of JSON; store nothing"},
    {0},
};

static const struct mt_command command = {
    .name = "memory-sampler",
    .operands = "",
    .summary = "Writes down what this machine's memory looks like now: one record, then it ends.",
    .examples = "  memory-sampler --print\n"
                "  memory-sampler --store sqlite:./memory.db --spool ./spool.db\n"
                "  * * * * * memory-sampler        (a line of a crontab)\n",
    .notes =
        "A store that is locked, read-only or broken does not lose the record: it waits in the\n"
        "outbox, and a later run delivers it. A record for a server's store (mongodb, http) goes\n"
        "into the outbox first; memory-courier, which lies beside this program, delivers it.\n\n"
        "Exit status: 0 stored, or in the outbox (with a warning); 1 failed; 2 usage;\n"
        "3 store unavailable and outbox, too; 4 bad configuration.\n",
    .program = MT_PROGRAM_SAMPLER,
    .options = options,
};

static enum mt_err sample(const struct mt_config *config, bool print, int64_t start_ms,
                          char *const *argv, struct mt_error *error)
{
    struct mt_record record;
    enum mt_err result = mt_sampler_take(config, &record, error);

    if (result != MT_OK)
        return result;
    if (!print)
        return mt_sampler_keep(config, &record, start_ms, argv, error);
    result = mt_sampler_print(&record, error);
    return result == MT_OK ? mt_command_finish_output(error) : result;
}

int main(int argc, char **argv)
{
    int64_t start_ms = mt_clock_monotonic_ms();
    struct mt_config *config = NULL;
    struct mt_arguments arguments;
    struct mt_error error = {0};
    enum mt_err result;
    int status = EXIT_SUCCESS;

    /* a closed pipe or a file size limit is an error to tell, not a reason to die in mid-write */
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN);
    (void)umask(027);
    (void)mt_log_open(command.name, MT_LOG_INFO, MT_LOG_TEXT, "-", NULL);

    result = mt_command_parse(&command, argc, argv, environ, &config, &arguments, &error);
    if (result == MT_OK && !arguments.answered)
        result = mt_config_start_log(config, command.name, &error);
    if (result == MT_OK && !arguments.answered)
        result = sample(config, arguments.option[OPTION_PRINT] != NULL, start_ms, argv, &error);
    if (result != MT_OK)
        status = mt_command_fail(&command, &error);
    mt_config_free(config);
    mt_log_close();
    return status;
}
