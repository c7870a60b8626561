#include "store/module.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/ops.h"

/* by the beginning of a URI */
static const struct {
    const char *scheme;
    const char *module;
} modules[] = {
    {"mongodb://", "mongodb"},
    {"mongodb+srv://", "mongodb"},
    {"http://", "http"},
    {"https://", "http"},
};

/* from the directory of the program; the first one that exists counts */
static const char *const places[] = {"../lib/memory-tracker", "../modules"};

static const char *name_of(const char *uri)
{
    for (size_t i = 0; i < sizeof modules / sizeof modules[0]; i++)
        if (strncmp(uri, modules[i].scheme, strlen(modules[i].scheme)) == 0)
            return modules[i].module;
    return NULL;
}

/* Writes the module's path; where it is nowhere, the one that an installation has. */
static enum mt_err locate(const char *name, char *path, size_t size, struct mt_error *error)
{
    char program[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    char *slash;

    if (length < 0)
        return mt_error_set_errno(error, MT_ERR_CONFIG, errno, "cannot read /proc/self/exe");
    program[length] = '\0';
    slash = strrchr(program, '/');
    *slash = '\0';
    for (size_t i = sizeof places / sizeof places[0]; i-- > 0;) {
        int written =
            snprintf(path, size, "%s/%s/memory-tracker-store-%s.so", program, places[i], name);

        if (written < 0 || (size_t)written >= size)
            return mt_error_set(error, MT_ERR_CONFIG, "%s: too long a path", program);
        if (i == 0 || access(path, F_OK) == 0)
            break;
    }
    return MT_OK;
}

static enum mt_err find(const char *uri, const struct mt_store_ops **ops, struct mt_error *error)
{
    const char *name = name_of(uri);
    const struct mt_store_module *module;
    char path[PATH_MAX + 64];
    void *library;
    enum mt_err err;

    if (name == NULL)
        return mt_error_set(error, MT_ERR_CONFIG,
                            "store '%s': unknown kind of store; known are sqlite:PATH, mongodb://, "
                            "mongodb+srv://, http:// and https://",
                            uri);
    err = locate(name, path, sizeof path, error);
    if (err != MT_OK)
        return err;
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL && access(path, F_OK) != 0)
        return mt_error_set_errno(error, MT_ERR_CONFIG, errno,
                                  "the %s store is a module of its own, which is not installed: "
                                  "install %s with its libraries, or take the image whose tag ends "
                                  "in -full",
                                  name, path);
    if (library == NULL)
        return mt_error_set(error, MT_ERR_CONFIG,
                            "cannot load the %s store: %s; install the module and its libraries",
                            name, dlerror());
    module = dlsym(library, MT_STORE_MODULE_SYMBOL);
    if (module == NULL || strcmp(module->version, MT_STORE_MODULE_VERSION) != 0)
        return mt_error_set(error, MT_ERR_CONFIG,
                            "%s is of version %s, this program of " MT_STORE_MODULE_VERSION
                            "; install both from one build",
                            path, module == NULL ? "unknown" : module->version);
    if (strcmp(module->fields, mt_field_names) != 0)
        return mt_error_set(error, MT_ERR_CONFIG,
                            "%s knows other fields of a record than this program; install both "
                            "from one build",
                            path);
    *ops = module->ops;
    return MT_OK;
}

void mt_store_use_modules(void)
{
    /*
     * While it is being loaded, the MongoDB driver puts its counters into a file of shared memory
     * named after the process, which stays behind when that is killed; who has the number next gets
     * a warning on standard error before anybody can take it away.
     */
    (void)setenv("MONGOC_DISABLE_SHM", "1", 0);
    mt_store_set_finder(find);
}
