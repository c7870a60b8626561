/*
 * Small total functions on text: they accept any bytes, read nothing past the given end, and say
 * false instead of guessing.
 */
#ifndef MT_BASE_TEXT_H
#define MT_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mt_buf;

/* A borrowed run of bytes, not NUL-terminated; lives as long as what it was cut from. */
struct mt_slice {
    const char *data;
    size_t length;
};

/* mt_slice_of: the slice of a NUL-terminated string. */
struct mt_slice mt_slice_of(const char *string);

/* mt_slice_equal: the same bytes as the NUL-terminated string. */
bool mt_slice_equal(struct mt_slice slice, const char *string);

/* mt_slice_starts_with: the first bytes are those of the NUL-terminated string. */
bool mt_slice_starts_with(struct mt_slice slice, const char *string);

/*
 * mt_next_word: cuts the first word off *rest, with the spaces and tabs before it; of length 0 if
 * there is none.
 */
struct mt_slice mt_next_word(struct mt_slice *rest);

/* mt_hex_digit: the value of a hexadecimal digit of either case, 0 to 15; -1 for any other byte. */
int mt_hex_digit(char c);

/*
 * mt_parse_i64: the whole slice as a decimal integer, `-?[0-9]+`, within int64_t. False (and *value
 * untouched) for anything else: white space, a sign `+`, trailing bytes, overflow, nothing at all.
 */
bool mt_parse_i64(struct mt_slice text, int64_t *value);

/* mt_parse_i64_range: as mt_parse_i64 and least <= value <= most. */
bool mt_parse_i64_range(struct mt_slice text, int64_t least, int64_t most, int64_t *value);

/*
 * mt_utf8_append_valid: appends the bytes to out with every maximal ill-formed part replaced by
 * U+FFFD, as Python's decode('utf-8', 'replace') and the Unicode standard (table 3-7) do.
 */
void mt_utf8_append_valid(struct mt_buf *out, const char *bytes, size_t count);

/* mt_utf8_is_valid: well-formed UTF-8 (no surrogates, no overlong forms, at most U+10FFFF). */
bool mt_utf8_is_valid(const char *bytes, size_t count);

/*
 * mt_text_nearest: the name among count names with the smallest edit distance to text, whatever the
 * case of the letters, or NULL when none is near enough to be worth a "did you mean".
 */
const char *mt_text_nearest(const char *text, const char *const *names, size_t count);

#endif
