#include "spool_fixture.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/clock.h"
#include "contract.h"

enum { LONG_MS = 60000 };

struct mt_spool *open_spool(const struct fixture *fixture)
{
    struct mt_spool *spool = NULL;
    struct mt_error error = {0};

    assert_ok(mt_spool_open(fixture->path, 0, &spool, &error));
    return spool;
}

struct mt_spool_status status_of(struct mt_spool *spool, const char *destination)
{
    struct mt_spool_status status;
    struct mt_error error = {0};

    assert_ok(mt_spool_status(spool, destination, &status, &error));
    return status;
}

struct mt_spool_delivery to(const char *destination, struct mt_store *store)
{
    return (struct mt_spool_delivery){
        .destination = destination,
        .store = store,
        .deadline_ms = mt_clock_monotonic_ms() + LONG_MS,
    };
}
