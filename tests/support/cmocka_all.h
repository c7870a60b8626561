/* cmocka with what its header wants included before it. */
#ifndef MT_TESTS_CMOCKA_ALL_H
#define MT_TESTS_CMOCKA_ALL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
