#include "base/command.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/log.h"
#include "base/text.h"
#include "base/version.h"

enum { LOG_WAIT_MS = 1000 };

enum { COMMON_HELP, COMMON_VERSION, COMMON_CONFIG };

static const struct mt_option common[] = {
    [COMMON_HELP] = {"help", NULL, "show this help and exit"},
    [COMMON_VERSION] = {"version", NULL, "show the version and exit"},
    [COMMON_CONFIG] = {"config", "FILE", "read settings from FILE, not " MT_CONFIG_DEFAULT_PATH},
    {0},
};

static const char *program_name(enum mt_program program)
{
    return program == MT_PROGRAM_SAMPLER   ? "memory-sampler"
           : program == MT_PROGRAM_API     ? "memory-api"
           : program == MT_PROGRAM_COURIER ? "memory-courier"
                                           : "memory-tracker";
}

/*
 * A standard stream that the caller left closed would be the next file that is opened, and log
 * lines would end in a database or at a client. /dev/null the wrong way round keeps its place taken
 * and reads and writes failing.
 */
static void keep_standard_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            (void)open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

/* What an option's name means: one of these three is set. */
struct match {
    const struct mt_option *common;
    const struct mt_option *own;
    const struct mt_setting_info *setting;
    bool from_file;
    bool takes_value;
};

static const struct mt_option *find_option(const struct mt_option *options, struct mt_slice name)
{
    for (; options != NULL && options->name != NULL; options++)
        if (mt_slice_equal(name, options->name))
            return options;
    return NULL;
}

static bool setting_applies(const struct mt_command *command, const struct mt_setting_info *info)
{
    return (info->programs & (unsigned)command->program) != 0;
}

static bool find_match(const struct mt_command *command, struct mt_slice name, struct match *match)
{
    *match = (struct match){.takes_value = true};
    match->common = find_option(common, name);
    match->own = match->common == NULL ? find_option(command->options, name) : NULL;
    if (match->common != NULL)
        match->takes_value = match->common->placeholder != NULL;
    if (match->own != NULL)
        match->takes_value = match->own->placeholder != NULL;
    if (match->common != NULL || match->own != NULL)
        return true;
    for (enum mt_setting i = 0; i < MT_SETTING_COUNT; i++) {
        const struct mt_setting_info *info = mt_setting_info(i);
        size_t length = strlen(info->option);

        if (!setting_applies(command, info) || name.length < length ||
            memcmp(name.data, info->option, length) != 0)
            continue;
        match->setting = info;
        match->from_file = name.length == length + 5 &&
                           memcmp(name.data + length, "-file", 5) == 0 &&
                           (info->flags & MT_SETTING_SECRET) != 0;
        if (name.length == length || match->from_file)
            return true;
    }
    return false;
}

static enum mt_err unknown_option(const struct mt_command *command, struct mt_slice name,
                                  struct mt_error *error)
{
    const char *names[MT_OPTIONS_MAX + MT_SETTING_COUNT + 3];
    size_t count = 0;
    const char *nearest;
    char copy[128];

    for (const struct mt_option *row = common; row->name != NULL; row++)
        names[count++] = row->name;
    for (const struct mt_option *row = command->options; row != NULL && row->name != NULL; row++)
        names[count++] = row->name;
    for (enum mt_setting i = 0; i < MT_SETTING_COUNT; i++)
        if (setting_applies(command, mt_setting_info(i)))
            names[count++] = mt_setting_info(i)->option;
    (void)snprintf(copy, sizeof copy, "%.*s", (int)name.length, name.data);
    nearest = mt_text_nearest(copy, names, count);
    if (nearest == NULL)
        return mt_error_set(error, MT_ERR_USAGE, "unknown option --%s", copy);
    return mt_error_set(error, MT_ERR_USAGE, "unknown option --%s; did you mean --%s?", copy,
                        nearest);
}

struct parse {
    const struct mt_command *command;
    struct mt_config *config;
    struct mt_arguments *arguments;
    const char *config_path;
    bool version;
    bool help;
};

static enum mt_err given_twice(const char *name, struct mt_error *error)
{
    return mt_error_set(error, MT_ERR_USAGE, "--%s is given twice", name);
}

static enum mt_err take_match(struct parse *parse, const struct match *match, const char *value,
                              struct mt_error *error)
{
    enum mt_setting setting;
    char spelling[128];
    size_t row;

    if (match->common != NULL) {
        parse->help = parse->help || match->common == &common[COMMON_HELP];
        parse->version = parse->version || match->common == &common[COMMON_VERSION];
        if (match->common != &common[COMMON_CONFIG])
            return MT_OK;
        if (parse->config_path != NULL)
            return given_twice(match->common->name, error);
        parse->config_path = value;
        return MT_OK;
    }
    if (match->own != NULL) {
        row = (size_t)(match->own - parse->command->options);
        if (parse->arguments->option[row] != NULL)
            return given_twice(match->own->name, error);
        parse->arguments->option[row] = value;
        if ((parse->command->without_secrets >> row & 1U) != 0)
            mt_config_skip_secrets(parse->config);
        return MT_OK;
    }
    setting = (enum mt_setting)(match->setting - mt_setting_info(0));
    if (mt_config_origin(parse->config, setting) == MT_ORIGIN_OPTION)
        return given_twice(match->setting->option, error);
    (void)snprintf(spelling, sizeof spelling, "--%s%s", match->setting->option,
                   match->from_file ? "-file" : "");
    return mt_config_set(parse->config, setting, value, match->from_file, MT_ORIGIN_OPTION,
                         spelling, error);
}

/* One long option at argv[*at]; moves *at past a value that stands by itself. */
static enum mt_err take_option(struct parse *parse, int argc, char *const *argv, int *at,
                               struct mt_error *error)
{
    const char *text = argv[*at] + 2;
    struct mt_slice name = {text, strcspn(text, "=")};
    const char *value = text[name.length] == '=' ? text + name.length + 1 : NULL;
    struct match match;

    if (!find_match(parse->command, name, &match))
        return unknown_option(parse->command, name, error);
    if (!match.takes_value && value != NULL)
        return mt_error_set(error, MT_ERR_USAGE, "--%.*s takes no value, but '%s' was given",
                            (int)name.length, name.data, value);
    if (match.takes_value && value == NULL) {
        if (*at + 1 >= argc)
            return mt_error_set(error, MT_ERR_USAGE, "--%.*s needs a value", (int)name.length,
                                name.data);
        value = argv[++*at];
    }
    return take_match(parse, &match, value != NULL ? value : "", error);
}

static enum mt_err take_arguments(struct parse *parse, int argc, char *const *argv,
                                  struct mt_error *error)
{
    const struct mt_command *command = parse->command;
    struct mt_arguments *arguments = parse->arguments;
    bool operands_only = false;

    for (int at = 1; at < argc; at++) {
        const char *word = argv[at];

        if (!operands_only && strcmp(word, "--") == 0) {
            operands_only = true;
        } else if (!operands_only && strncmp(word, "--", 2) == 0) {
            enum mt_err result = take_option(parse, argc, argv, &at, error);
            if (result != MT_OK)
                return result;
        } else if (!operands_only && word[0] == '-' && word[1] != '\0') {
            return mt_error_set(error, MT_ERR_USAGE,
                                "unknown option %s; options are long, as in --help", word);
        } else if (arguments->operand_count == command->most_operands) {
            return mt_error_set(error, MT_ERR_USAGE, "unexpected argument '%s'", word);
        } else {
            arguments->operand[arguments->operand_count++] = word;
        }
    }
    return MT_OK;
}

enum mt_err mt_command_parse(const struct mt_command *command, int argc, char *const *argv,
                             char *const *environment, struct mt_config **config,
                             struct mt_arguments *arguments, struct mt_error *error)
{
    struct parse parse = {.command = command, .arguments = arguments};
    enum mt_err result;

    keep_standard_streams();
    (void)mt_log_open(program_name(command->program), MT_LOG_INFO, MT_LOG_TEXT, "-", NULL);
    *arguments = (struct mt_arguments){0};
    *config = parse.config = mt_config_new();
    if (*config == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
    result = take_arguments(&parse, argc, argv, error);
    if (result != MT_OK)
        return result;
    if (parse.help || parse.version) {
        /* asked for help, a person gets it whatever the environment holds */
        if (parse.help)
            mt_command_print_help(command);
        else
            (void)printf("%.*s %s\n", (int)strcspn(command->name, " "), command->name, MT_VERSION);
        arguments->answered = true;
        return mt_command_finish_output(error);
    }
    if (arguments->operand_count < command->least_operands)
        return mt_error_set(error, MT_ERR_USAGE, "missing argument: %s", command->operands);
    /* not for the sampler, which has no threads, and not one file to read in vain */
    if ((command->program & (MT_PROGRAM_API | MT_PROGRAM_TRACKER)) != 0)
        mt_config_heed_cpu_quota(*config, mt_cpu_quota("/proc/self/cgroup", "/sys/fs/cgroup"));
    result = mt_config_load_environment(*config, environment, error);
    if (result != MT_OK)
        return result;
    arguments->config_path = parse.config_path != NULL ? parse.config_path : MT_CONFIG_DEFAULT_PATH;
    return mt_config_load_file(*config, arguments->config_path, parse.config_path == NULL, error);
}

int mt_command_main(const struct mt_command *command, int argc, char *const *argv,
                    mt_run_body *body)
{
    struct mt_config *config = NULL;
    struct mt_arguments arguments;
    struct mt_run run = {
        .arguments = &arguments, .argv = argv, .start_ms = mt_clock_monotonic_ms()};
    struct mt_error error = {0};
    enum mt_err result =
        mt_command_parse(command, argc, argv, environ, &config, &arguments, &error);
    int status;

    run.config = config;
    if (result == MT_OK && !arguments.answered)
        result = body(&run, &error);
    status = result == MT_OK ? 0 : mt_command_fail(command, &error);
    mt_config_free(config);
    mt_log_close();
    return status;
}

void mt_command_work_unattended(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN);
    (void)umask(027);
    mt_log_wait_at_most(LOG_WAIT_MS);
}

static void print_row(const char *name, const char *placeholder, const char *help,
                      const char *fallback)
{
    char left[128];

    (void)snprintf(left, sizeof left, "--%s%s%s", name, placeholder != NULL ? " " : "",
                   placeholder != NULL ? placeholder : "");
    (void)printf("  %s\n      %s", left, help);
    if (fallback != NULL)
        (void)printf(" (default: %s)", fallback);
    (void)printf("\n");
}

void mt_command_print_help(const struct mt_command *command)
{
    (void)printf("Usage: %s [OPTION...]%s%s\n%s\n\nOptions:\n", command->name,
                 command->operands[0] != '\0' ? " " : "", command->operands, command->summary);
    for (const struct mt_option *row = command->options; row != NULL && row->name != NULL; row++)
        print_row(row->name, row->placeholder, row->help, NULL);
    for (const struct mt_option *row = common; row->name != NULL; row++)
        print_row(row->name, row->placeholder, row->help, NULL);
    (void)printf("\nSettings, each also as " MT_SETTING_PREFIX "NAME (" MT_SETTING_DOCDB_PREFIX
                 "NAME as it is)\nin the environment and in %s:\n",
                 MT_CONFIG_DEFAULT_PATH);
    for (enum mt_setting i = 0; i < MT_SETTING_COUNT; i++) {
        const struct mt_setting_info *info = mt_setting_info(i);
        if (!setting_applies(command, info))
            continue;
        print_row(info->option, info->placeholder, info->help, info->fallback);
        if ((info->flags & MT_SETTING_SECRET) != 0)
            (void)printf("  --%s-file FILE\n      a file whose first line is that value\n",
                         info->option);
    }
    if (command->notes != NULL)
        (void)printf("\n%s", command->notes);
    (void)printf("\nExamples:\n%s", command->examples);
}

int mt_command_fail(const struct mt_command *command, const struct mt_error *error)
{
    enum mt_log_level level = mt_err_log_level(error->code);

    if (error->code == MT_ERR_USAGE)
        mt_log(MT_LOG_ERROR, "%s; see %s --help", error->text, command->name);
    else
        mt_log(level < MT_LOG_ERROR ? MT_LOG_ERROR : level, "%s: %s", mt_err_name(error->code),
               error->text);
    return mt_err_exit_status(error->code);
}

enum mt_err mt_command_finish_output(struct mt_error *error)
{
    if (fflush(stdout) != 0 || ferror(stdout) != 0)
        return mt_error_set_errno(error, MT_ERR_IO, errno, "cannot write to standard output");
    return MT_OK;
}
