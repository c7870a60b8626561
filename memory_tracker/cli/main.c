#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "base/version.h"
#include "cli/subcommand.h"
#include "store/module.h"

static const struct mt_subcommand *const subcommands[] = {
    &mt_logs_subcommand,   &mt_hosts_subcommand,  &mt_import_subcommand,
    &mt_export_subcommand, &mt_verify_subcommand, &mt_compact_subcommand,
    &mt_prune_subcommand,  &mt_spool_subcommand,  &mt_config_subcommand,
};

enum { SUBCOMMANDS = sizeof subcommands / sizeof subcommands[0] };

/* for messages about what stands before a subcommand */
static const struct mt_command overview = {.name = "memory-tracker", .operands = "SUBCOMMAND"};

static int print_overview(void)
{
    struct mt_error error = {0};

    (void)printf("Usage: memory-tracker SUBCOMMAND [OPTION...]\n"
                 "Asks and tends the memory history of Memory Tracker.\n\nSubcommands:\n");
    for (size_t i = 0; i < SUBCOMMANDS; i++)
        (void)printf("  %-8s %s\n", subcommands[i]->name, subcommands[i]->command.summary);
    (void)printf("  %-8s %s\n", "help", "Shows this, or how to use one subcommand.");
    (void)printf("\nOptions:\n"
                 "  --help\n      show this help and exit\n"
                 "  --version\n      show the version and exit\n"
                 "\nExit status: 0 done, 1 failed, 2 usage, 3 store unavailable for now,\n"
                 "4 bad configuration.\n"
                 "\nExamples:\n"
                 "  memory-tracker logs --limit 5\n"
                 "  memory-tracker help import\n"
                 "  memory-tracker config\n");
    return mt_subcommand_end(&overview, mt_command_finish_output(&error), &error);
}

static int print_version(void)
{
    struct mt_error error = {0};

    (void)printf("memory-tracker %s\n", MT_VERSION);
    return mt_subcommand_end(&overview, mt_command_finish_output(&error), &error);
}

static int unknown(const char *name)
{
    struct mt_error error = {0};
    const char *names[SUBCOMMANDS + 1];
    const char *nearest;

    for (size_t i = 0; i < SUBCOMMANDS; i++)
        names[i] = subcommands[i]->name;
    names[SUBCOMMANDS] = "help";
    nearest = mt_text_nearest(name, names, SUBCOMMANDS + 1);
    if (name[0] == '-')
        (void)mt_error_set(&error, MT_ERR_USAGE, "unknown option %s; options follow the subcommand",
                           name);
    else if (nearest != NULL)
        (void)mt_error_set(&error, MT_ERR_USAGE, "unknown subcommand '%s'; did you mean %s?", name,
                           nearest);
    else
        (void)mt_error_set(&error, MT_ERR_USAGE, "unknown subcommand '%s'", name);
    return mt_command_fail(&overview, &error);
}

static const struct mt_subcommand *find(const char *name)
{
    for (size_t i = 0; i < SUBCOMMANDS; i++)
        if (strcmp(subcommands[i]->name, name) == 0)
            return subcommands[i];
    return NULL;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "help";
    const struct mt_subcommand *subcommand;
    static char help_option[] = "--help";
    char *help[] = {argv[0], help_option, NULL};

    /* a closed pipe shows as EPIPE, so that what is unfinished can be tidied up */
    (void)signal(SIGPIPE, SIG_IGN);
    mt_store_use_modules();
    if (strcmp(name, "--version") == 0)
        return print_version();
    if (strcmp(name, "--help") == 0 || (strcmp(name, "help") == 0 && argc < 3))
        return print_overview();
    if (strcmp(name, "help") == 0)
        name = argv[2];
    subcommand = find(name);
    if (subcommand == NULL)
        return unknown(name);
    if (name == argv[2])
        return mt_subcommand_main(subcommand, 2, help, environ);
    return mt_subcommand_main(subcommand, argc - 1, argv + 1, environ);
}
