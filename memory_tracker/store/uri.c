#include "store/uri.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char sqlite_scheme[] = "sqlite:";

static bool is_sqlite(const char *uri)
{
    return strncmp(uri, sqlite_scheme, sizeof sqlite_scheme - 1) == 0;
}

enum mt_err mt_store_uri(const struct mt_config *config, char **uri, struct mt_error *error)
{
    char *copy = strdup(mt_config_string(config, MT_SETTING_STORE));

    if (copy == NULL)
        return mt_error_set(error, MT_ERR_NO_MEMORY, "out of memory");
    *uri = copy;
    return MT_OK;
}

bool mt_store_is_remote(const char *uri)
{
    return !is_sqlite(uri);
}

static char *sqlite_destination(const char *uri)
{
    const char *path = uri + sizeof sqlite_scheme - 1;
    char *directory;
    char *name = NULL;

    if (path[0] == '/')
        return strdup(uri);
    while (strncmp(path, "./", 2) == 0)
        path += 2;
    directory = getcwd(NULL, 0);
    if (directory != NULL && asprintf(&name, "%s%s/%s", sqlite_scheme, directory, path) < 0)
        name = NULL;
    free(directory);
    return name;
}

char *mt_store_destination(const char *uri)
{
    char *name = NULL;
    const char *host = strstr(uri, "://");
    const char *end;
    const char *at;

    if (is_sqlite(uri))
        return sqlite_destination(uri);
    if (host == NULL)
        return strdup(uri);
    host += 3;
    end = host + strcspn(host, "?#");
    at = memrchr(host, '@', (size_t)(end - host));
    if (asprintf(&name, "%.*s%.*s", (int)(host - uri), uri,
                 (int)(end - (at == NULL ? host : at + 1)), at == NULL ? host : at + 1) < 0)
        name = NULL;
    return name;
}
