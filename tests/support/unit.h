/* cmocka and the headers that it wants before it. */
#ifndef MT_TESTS_UNIT_H
#define MT_TESTS_UNIT_H

/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#endif
