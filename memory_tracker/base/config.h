/*
 * The values in force: each setting from its option, else the environment, else the configuration
 * file, else its default. Built once by main; immutable afterwards, so any thread may read it.
 */
#ifndef MT_BASE_CONFIG_H
#define MT_BASE_CONFIG_H

#include "base/error.h"
#include "base/setting.h"

/* Read if it exists; --config FILE names another, which then must exist. */
#define MT_CONFIG_DEFAULT_PATH "/etc/memory-tracker/memory-tracker.conf"

enum mt_origin {
    MT_ORIGIN_DEFAULT,
    MT_ORIGIN_FILE,
    MT_ORIGIN_ENVIRONMENT,
    MT_ORIGIN_OPTION,
};

struct mt_config; /* from mt_config_new, freed by mt_config_free */

/* mt_config_new: every setting at its default. NULL: no memory. */
struct mt_config *mt_config_new(void);
void mt_config_free(struct mt_config *config); /* accepts NULL */

/*
 * mt_config_set: the value of one setting, if nothing of higher origin is there yet. from_file:
 * value is the path of a file whose first line is the value (the _FILE forms). spelling is what the
 * person typed, for messages. A bad value is USAGE if it came as an option, else CONFIG; config is
 * unchanged.
 */
enum mt_err mt_config_set(struct mt_config *config, enum mt_setting setting, const char *value,
                          bool from_file, enum mt_origin origin, const char *spelling,
                          struct mt_error *error);

/* mt_config_skip_secrets: from now on files of _FILE forms are not read; their settings stay. */
void mt_config_skip_secrets(struct mt_config *config);

/* mt_config_heed_cpu_quota: the default of THREADS is `cpus` at most; 0: as it is. */
void mt_config_heed_cpu_quota(struct mt_config *config, int64_t cpus);

/*
 * mt_config_load_environment: takes every MEMORY_TRACKER_* and DOCDB_* variable. An unknown name is
 * CONFIG with the nearest known one; so are a bad value and NAME together with NAME_FILE.
 */
enum mt_err mt_config_load_environment(struct mt_config *config, char *const *environment,
                                       struct mt_error *error);

/*
 * mt_config_load_text: takes the lines of a configuration file: `NAME=value` with the environment's
 * names, blank lines and lines that begin with `#`; a pair of quotes around a value is dropped.
 * `path` is for messages. CONFIG with path:line for whatever is wrong, a name given twice included.
 */
enum mt_err mt_config_load_text(struct mt_config *config, const char *path, const char *text,
                                size_t length, struct mt_error *error);

/* mt_config_load_file: mt_config_load_text on a file of at most 1 MiB. Missing is fine if optional.
 */
enum mt_err mt_config_load_file(struct mt_config *config, const char *path, bool optional,
                                struct mt_error *error);

/* The values; strings are borrowed and live as long as config. A setting without a
 * default is "" until it is given, but HOST and THREADS are never empty. */
const char *mt_config_string(const struct mt_config *config, enum mt_setting setting);
int64_t mt_config_number(const struct mt_config *config, enum mt_setting setting);
enum mt_origin mt_config_origin(const struct mt_config *config, enum mt_setting setting);

/* mt_config_source: where the value came from, for a person: "default", "--store", "FILE:3" ... */
const char *mt_config_source(const struct mt_config *config, enum mt_setting setting);

/* mt_config_start_log: mt_log_open with LOG_LEVEL, LOG_FORMAT and LOG_FILE. */
enum mt_err mt_config_start_log(const struct mt_config *config, const char *program,
                                struct mt_error *error);

#endif
