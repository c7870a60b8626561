/* The SQLite store is held to the contract. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "contract.h"

static void make_place(char *uri, size_t size)
{
    const char *base = getenv("TMPDIR");
    char directory[256];

    (void)snprintf(directory, sizeof directory, "%s/mt-contract-XXXXXX",
                   base != NULL ? base : "/tmp");
    assert_non_null(mkdtemp(directory));
    (void)snprintf(uri, size, "sqlite:%s/memory.db", directory);
}

static void remove_place(const char *uri)
{
    static const char *const suffixes[] = {"", "-journal"};
    char path[512];

    for (size_t i = 0; i < 2; i++) {
        (void)snprintf(path, sizeof path, "%s%s", uri + strlen("sqlite:"), suffixes[i]);
        (void)unlink(path);
    }
    (void)snprintf(path, sizeof path, "%s", uri + strlen("sqlite:"));
    *strrchr(path, '/') = '\0';
    assert_int_equal(rmdir(path), 0);
}

int main(void)
{
    const struct contract_kind kind = {
        .name = "sqlite", .make_place = make_place, .remove_place = remove_place};

    return contract_run(&kind);
}
