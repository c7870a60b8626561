#include "api/conditional.h"

#include <string.h>
#include <strings.h>

enum {
    QVALUE_ONE = 1000,  /* qvalues have three decimals */
    QVALUE_UNTOLD = -1, /* of a coding that is not in the list */
    QVALUE_LEAST = 1,
    HEX_DIGITS = 16,
};

static char *put_hex(char *at, uint64_t value, size_t digits)
{
    for (size_t i = digits; i-- > 0; value >>= 4)
        at[i] = "0123456789abcdef"[value & 15];
    return at + digits;
}

static size_t count_hex(uint64_t value)
{
    return value == 0 ? 1 : (size_t)(67 - __builtin_clzll(value)) / 4;
}

void mt_tag_format(struct mt_entries_hash hash, bool is_gzip, char tag[MT_TAG_SIZE])
{
    static const char suffix[] = "-gzip";
    char *at = tag;

    if (is_gzip) {
        *at++ = 'W';
        *at++ = '/';
    }
    *at++ = '"';
    at = put_hex(at, hash.value, HEX_DIGITS);
    *at++ = '-';
    at = put_hex(at, hash.count, count_hex(hash.count));
    if (is_gzip) {
        memcpy(at, suffix, sizeof suffix - 1);
        at += sizeof suffix - 1;
    }
    *at++ = '"';
    *at = '\0';
}

static bool take(struct mt_slice *rest, char c)
{
    if (rest->length == 0 || rest->data[0] != c)
        return false;
    rest->data++;
    rest->length--;
    return true;
}

static void skip_blanks(struct mt_slice *rest)
{
    while (take(rest, ' ') || take(rest, '\t'))
        ;
}

static bool is_tag_char(char c)
{
    unsigned char byte = (unsigned char)c;

    return byte == 0x21 || (byte >= 0x23 && byte <= 0x7E) || byte >= 0x80;
}

/* An entity tag without what makes it weak; with its quotes. False: there is none. */
static bool take_tag(struct mt_slice *rest, struct mt_slice *tag)
{
    if (rest->length >= 2 && memcmp(rest->data, "W/", 2) == 0) {
        rest->data += 2;
        rest->length -= 2;
    }
    tag->data = rest->data;
    if (!take(rest, '"'))
        return false;
    while (rest->length > 0 && is_tag_char(rest->data[0]))
        (void)take(rest, rest->data[0]);
    if (!take(rest, '"'))
        return false;
    tag->length = (size_t)(rest->data - tag->data);
    return true;
}

bool mt_none_match_has(struct mt_slice if_none_match, const char *tag)
{
    struct mt_slice rest = if_none_match;
    bool has = false;

    if (tag[0] == 'W')
        tag += 2;
    skip_blanks(&rest);
    if (take(&rest, '*')) {
        skip_blanks(&rest);
        return rest.length == 0;
    }
    while (rest.length > 0) {
        struct mt_slice one;

        /* nothing between two commas is an element that is passed over */
        if (rest.data[0] != ',') {
            if (!take_tag(&rest, &one))
                return false;
            has = has || mt_slice_equal(one, tag);
            skip_blanks(&rest);
            if (rest.length > 0 && rest.data[0] != ',')
                return false;
        }
        (void)take(&rest, ',');
        skip_blanks(&rest);
    }
    return has;
}

static bool is_token_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static struct mt_slice take_token(struct mt_slice *rest)
{
    struct mt_slice token = {rest->data, 0};

    while (rest->length > 0 && is_token_char(rest->data[0])) {
        (void)take(rest, rest->data[0]);
        token.length++;
    }
    return token;
}

/* The whole of text: 0 to 1 with at most three decimals, as thousandths. */
static bool parse_qvalue(struct mt_slice text, int *qvalue)
{
    int value;

    if (text.length == 0 || text.length > 5 || (text.data[0] != '0' && text.data[0] != '1') ||
        (text.length > 1 && text.data[1] != '.'))
        return false;
    value = (text.data[0] - '0') * QVALUE_ONE;
    for (size_t i = 2, unit = QVALUE_ONE / 10; i < text.length; i++, unit /= 10) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        value += (text.data[i] - '0') * (int)unit;
    }
    if (value > QVALUE_ONE)
        return false;
    *qvalue = value;
    return true;
}

/* The whole of element: the name of a coding and how much it is liked. */
static bool parse_coding(struct mt_slice element, struct mt_slice *name, int *qvalue)
{
    *qvalue = QVALUE_ONE;
    skip_blanks(&element);
    *name = take_token(&element);
    skip_blanks(&element);
    if (element.length == 0)
        return name->length > 0;
    if (name->length == 0 || !take(&element, ';'))
        return false;
    skip_blanks(&element);
    if ((!take(&element, 'q') && !take(&element, 'Q')) || !take(&element, '='))
        return false;
    while (element.length > 0 &&
           (element.data[element.length - 1] == ' ' || element.data[element.length - 1] == '\t'))
        element.length--;
    return parse_qvalue(element, qvalue);
}

static bool is_named(struct mt_slice name, const char *coding)
{
    return name.length == strlen(coding) && strncasecmp(name.data, coding, name.length) == 0;
}

/* How much the codings are liked, in thousandths. */
struct liking {
    int gzip;
    int identity;
    int others;
};

static void note(struct liking *liking, struct mt_slice name, int qvalue)
{
    int *noted = NULL;

    if (is_named(name, "gzip") || is_named(name, "x-gzip"))
        noted = &liking->gzip;
    else if (is_named(name, "identity"))
        noted = &liking->identity;
    else if (is_named(name, "*"))
        noted = &liking->others;
    if (noted != NULL && *noted == QVALUE_UNTOLD)
        *noted = qvalue;
}

enum mt_coding mt_coding_choose(struct mt_slice accept_encoding)
{
    struct liking liking = {QVALUE_UNTOLD, QVALUE_UNTOLD, QVALUE_UNTOLD};
    struct mt_slice rest = accept_encoding;

    while (rest.length > 0) {
        const char *comma = memchr(rest.data, ',', rest.length);
        size_t length = comma != NULL ? (size_t)(comma - rest.data) : rest.length;
        struct mt_slice name;
        int qvalue;

        if (parse_coding((struct mt_slice){rest.data, length}, &name, &qvalue))
            note(&liking, name, qvalue);
        length += comma != NULL;
        rest.data += length;
        rest.length -= length;
    }
    if (liking.gzip == QVALUE_UNTOLD)
        liking.gzip = liking.others != QVALUE_UNTOLD ? liking.others : 0;
    /* without a word identity is good enough, and anything that was asked for is better */
    if (liking.identity == QVALUE_UNTOLD)
        liking.identity = liking.others != QVALUE_UNTOLD ? liking.others : QVALUE_LEAST;
    if (liking.gzip > 0 && liking.gzip >= liking.identity)
        return MT_CODING_GZIP;
    return liking.identity > 0 ? MT_CODING_IDENTITY : MT_CODING_NONE;
}
