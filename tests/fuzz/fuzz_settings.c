/* The configuration file's parser and the check of every setting's value. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_every_setting(const char *value)
{
    for (enum mt_setting i = 0; i < MT_SETTING_COUNT; i++) {
        const struct mt_setting_info *info = mt_setting_info(i);
        struct mt_error error = {0};
        int64_t number = INT64_MIN;
        char shown[64];

        if (mt_setting_check(i, "fuzz", value, MT_ERR_CONFIG, &number, &error)) {
            if (info->type == MT_TYPE_COUNT || info->type == MT_TYPE_SECONDS ||
                info->type == MT_TYPE_BYTES)
                if (number < info->least || number > info->most)
                    abort();
            if (info->type == MT_TYPE_RETENTION && number > -(1 << 20) && number < 86400 &&
                (number != 0 || value[0] != '\0'))
                abort();
        } else if (error.code != MT_ERR_CONFIG || error.text[0] == '\0') {
            abort();
        }
        mt_setting_mask(i, value, shown, sizeof shown);
        if (strlen(shown) >= sizeof shown)
            abort();
    }
}

static void load(const char *text, size_t size)
{
    struct mt_config *config = mt_config_new();
    struct mt_error error = {0};
    enum mt_err result;

    if (config == NULL)
        return;
    result = mt_config_load_text(config, "fuzz.conf", text, size, &error);
    if (result != error.code)
        abort();
    for (enum mt_setting i = 0; i < MT_SETTING_COUNT; i++)
        if (mt_config_source(config, i)[0] == '\0' ||
            (mt_setting_info(i)->fallback != NULL && mt_config_string(config, i)[0] == '\0'))
            abort();
    mt_config_free(config);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *string = malloc(size + 1);

    if (string == NULL)
        return 0;
    if (size > 0)
        memcpy(string, data, size);
    string[size] = '\0';
    /* a name that ends in _FILE would read whatever file the bytes happen to name */
    if (strstr(string, "_FILE") == NULL && memmem(data, size, "_FILE", 5) == NULL)
        load((const char *)data, size);
    check_every_setting(string);
    free(string);
    return 0;
}
