/*
 * The table of query parameters (parameter.def) and the machine that checks them: all errors at
 * once, in the words and the form of pydantic 2.6.3 under FastAPI 0.110.0. Pure; any thread.
 */
#ifndef MT_API_PARAMETER_H
#define MT_API_PARAMETER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/text.h"

enum mt_parameter {
#define MT_PARAMETER(symbol, ...)       MT_PARAMETER_##symbol,
#define MT_STORE_PARAMETER(symbol, ...) MT_PARAMETER_##symbol,
#include "api/parameter.def"
#undef MT_PARAMETER
#undef MT_STORE_PARAMETER
    MT_PARAMETER_COUNT
};

/* A choice of parameters, or-ed. */
#define MT_PARAMETER_BIT(parameter) (UINT32_C(1) << (parameter))

enum mt_parameter_type {
    MT_PARAMETER_TYPE_INTEGER,
    MT_PARAMETER_TYPE_UNSIGNED,
    MT_PARAMETER_TYPE_CHOICE,
    MT_PARAMETER_TYPE_FIELDS,
};

/* An lt that no value reaches, and a gt that every value does; values beyond int64 count as
 * INT64_MIN or INT64_MAX. */
#define MT_UNBOUNDED       INT64_MAX
#define MT_UNBOUNDED_BELOW INT64_MIN

/* The default of a parameter that has to be given. */
#define MT_REQUIRED INT64_MIN

/* One row of the table; static and immutable. */
struct mt_parameter_info {
    const char *name;
    enum mt_parameter_type type;
    int64_t gt, lt; /* gt < value < lt */
    int64_t fallback;
    const char *choices; /* "" but for CHOICE */
    const char *help;
};

/* mt_parameter_info: the row of a parameter. */
const struct mt_parameter_info *mt_parameter_info(enum mt_parameter parameter);

/* The checked value of each parameter, or its default. An UNSIGNED one is to be cast. */
struct mt_parameters {
    int64_t value[MT_PARAMETER_COUNT];
    uint32_t given; /* MT_PARAMETER_BITs of those that were in the query */
};

/*
 * mt_parameters_check: reads the parameters in `choice` from a query string; others are ignored.
 * The last of a repeated one counts. True, and all of *parameters set, if every one is proper;
 * otherwise false and the body of a 422 appended to *errors (which may have failed for want of
 * memory; false then too).
 */
bool mt_parameters_check(struct mt_slice query, uint32_t choice, struct mt_parameters *parameters,
                         struct mt_buf *errors);

enum mt_integer_verdict { MT_INTEGER_OK, MT_INTEGER_UNPARSABLE, MT_INTEGER_TOO_LONG };

/*
 * mt_integer_parse: what pydantic 2.6.3 takes for an integer in a string. TOO_LONG beyond 4,300
 * bytes, whatever stands in them. Values beyond int64 become INT64_MIN or INT64_MAX. *value is
 * untouched unless OK.
 */
enum mt_integer_verdict mt_integer_parse(struct mt_slice text, int64_t *value);

#endif
