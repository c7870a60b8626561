/* Records as documents of the MongoDB store, and what is made of documents that are none. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "random_record.h"
#include "store/mongodb/mongodb.h"
#include "unit.h"

static char store_name[] = "mongodb://h/d";
static const struct mongodb_store store = {.name = store_name};

static struct mt_record smallest(void)
{
    struct mt_record record = {.host = "h", .timestamp = 1000};

    mt_record_set(&record, MT_FIELD_MEM_TOTAL, 2);
    mt_record_set(&record, MT_FIELD_MEM_FREE, 0);
    return record;
}

static void random_records_come_back(void **state)
{
    uint64_t seed = 20260412;
    size_t largest = 0;

    (void)state;
    for (int i = 0; i < 3000; i++) {
        struct mt_record record = random_record(&seed);
        int64_t arrival_us = 1 + (int64_t)random_below(&seed, INT64_MAX);
        int64_t got_us = 0;
        struct mt_record got;
        struct mt_error error = {0};
        bson_t document;

        mongodb_write_record(&record, record.timestamp, arrival_us, &document);
        if (document.len > largest)
            largest = document.len;
        if (mongodb_read_record(&store, &document, MT_FIELD_ALL, &got, &got_us, &error) != MT_OK)
            fail_msg("%s", error.text);
        assert_true(records_are_equal(&got, &record));
        assert_int_equal(got_us, arrival_us);
        bson_destroy(&document);
    }
    /* far below what any server takes */
    assert_in_range(largest, 100, 4000);
}

static void a_moved_record_stands_at_its_new_second(void **state)
{
    struct mt_record record = smallest();
    struct mt_record got;
    struct mt_error error = {0};
    bson_t document;

    (void)state;
    mongodb_write_record(&record, 1007, 5, &document);
    assert_int_equal(mongodb_read_record(&store, &document, MT_FIELD_ALL, &got, NULL, &error),
                     MT_OK);
    assert_int_equal(got.timestamp, 1007);
    bson_destroy(&document);
}

/* the names are a contract with whoever reads the collection by other means */
static void a_document_is_as_documented(void **state)
{
    struct mt_record record = smallest();
    bson_t document;
    char *json;

    (void)state;
    record.has_boot_id = true;
    record.boot_id[15] = 1;
    mongodb_write_record(&record, 1000, 123456, &document);
    json = bson_as_canonical_extended_json(&document, NULL);
    assert_string_equal(
        json, "{ \"_id\" : { \"h\" : \"h\", \"t\" : { \"$numberLong\" : \"1000\" } },"
              " \"arrival_us\" : { \"$numberLong\" : \"123456\" },"
              " \"boot_id\" : { \"$binary\" : { \"base64\" : \"AAAAAAAAAAAAAAAAAAAAAQ==\","
              " \"subType\" : \"04\" } },"
              " \"mem_total\" : { \"$numberLong\" : \"2\" },"
              " \"mem_free\" : { \"$numberLong\" : \"0\" } }");
    bson_free(json);
    bson_destroy(&document);
}

static enum mt_err read_json(const char *json, uint64_t fields, struct mt_record *record,
                             struct mt_error *error)
{
    bson_error_t failure;
    bson_t *document = bson_new_from_json((const uint8_t *)json, -1, &failure);
    enum mt_err err;

    if (document == NULL)
        fail_msg("%s: %s", json, failure.message);
    err = mongodb_read_record(&store, document, fields, record, NULL, error);
    bson_destroy(document);
    return err;
}

static void only_the_chosen_fields_are_read(void **state)
{
    struct mt_record record = {0};
    struct mt_error error = {0};

    (void)state;
    assert_int_equal(read_json("{\"_id\":{\"h\":\"h\",\"t\":5},\"mem_total\":7,\"dirty\":3}",
                               MT_FIELD_BIT(MT_FIELD_DIRTY), &record, &error),
                     MT_OK);
    assert_int_equal(record.present, MT_FIELD_BIT(MT_FIELD_DIRTY));
    assert_int_equal(record.value[MT_FIELD_DIRTY], 3);
    assert_int_equal(record.value[MT_FIELD_MEM_TOTAL], 0);
    assert_int_equal(read_json("{\"_id\":{\"h\":\"h\",\"t\":5}}", 0, &record, &error), MT_OK);
    assert_int_equal(record.present, 0);
}

/* what mongoimport and the shell make of numbers; and a field of a newer memory-tracker */
static void numbers_of_other_tools_are_read(void **state)
{
    struct mt_record record = {0};
    struct mt_error error = {0};

    (void)state;
    assert_int_equal(read_json("{\"mem_free\":{\"$numberDouble\":\"9007199254740992.0\"},"
                               "\"new_field\":\"x\",\"mem_total\":12,"
                               "\"_id\":{\"t\":{\"$numberDouble\":\"60.0\"},\"h\":\"h\"}}",
                               MT_FIELD_ALL, &record, &error),
                     MT_OK);
    assert_int_equal(record.timestamp, 60);
    assert_int_equal(record.value[MT_FIELD_MEM_FREE], MT_VALUE_MAX);
    assert_int_equal(record.value[MT_FIELD_MEM_TOTAL], 12);
}

static void what_is_no_record_is_corrupt_and_named(void **state)
{
    static const struct {
        const char *json;
        const char *said;
    } cases[] = {
        {"{}", "_id"},
        {"{\"_id\":1,\"mem_total\":1,\"mem_free\":1}", "_id"},
        {"{\"_id\":{\"h\":\"h\"},\"mem_total\":1,\"mem_free\":1}", "_id"},
        {"{\"_id\":{\"h\":1,\"t\":1},\"mem_total\":1,\"mem_free\":1}", "_id"},
        {"{\"_id\":{\"h\":\"a\\u0000b\",\"t\":1},\"mem_total\":1,\"mem_free\":1}", "_id"},
        {"{\"_id\":{\"h\":\"a b\",\"t\":1},\"mem_total\":1,\"mem_free\":1}", "host 'a b'"},
        {"{\"_id\":{\"h\":\"h\",\"t\":-1},\"mem_total\":1,\"mem_free\":1}", "timestamp -1"},
        {"{\"_id\":{\"h\":\"h\",\"t\":1.5},\"mem_total\":1,\"mem_free\":1}", "_id"},
        {"{\"_id\":{\"h\":\"h\",\"t\":1},\"mem_total\":\"x\",\"mem_free\":1}", "mem_total"},
        {"{\"_id\":{\"h\":\"h\",\"t\":1},\"mem_total\":1,\"mem_free\":-5}", "mem_free -5"},
        {"{\"_id\":{\"h\":\"h\",\"t\":1},\"mem_total\":1}", "mem_available or mem_free"},
        {"{\"_id\":{\"h\":\"h\",\"t\":1},\"mem_total\":0,\"mem_free\":1}", "mem_total"},
        {"{\"_id\":{\"h\":\"h\",\"t\":1},\"boot_id\":\"b\",\"mem_total\":1,\"mem_free\":1}",
         "boot_id"},
        {"{\"_id\":{\"h\":\"h\",\"t\":1},\"boot_id\":{\"$binary\":{\"base64\":\"AAAA\","
         "\"subType\":\"04\"}},\"mem_total\":1,\"mem_free\":1}",
         "boot_id"},
        {"{\"_id\":{\"h\":\"h\",\"t\":1},\"arrival_us\":0,\"mem_total\":1,\"mem_free\":1}",
         "arrival_us"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mt_record record = {.timestamp = 77};
        struct mt_error error = {0};

        if (read_json(cases[i].json, MT_FIELD_ALL, &record, &error) != MT_ERR_CORRUPT)
            fail_msg("%s was taken", cases[i].json);
        if (strstr(error.text, cases[i].said) == NULL || strstr(error.text, store_name) == NULL)
            fail_msg("%s: %s", cases[i].json, error.text);
        assert_int_equal(record.timestamp, 77);
    }
}

static void a_long_key_does_not_fill_the_message(void **state)
{
    struct mt_record record = {0};
    struct mt_error error = {0};
    char host[2001];
    char json[2200];

    (void)state;
    memset(host, 'x', sizeof host - 1);
    host[sizeof host - 1] = '\0';
    (void)snprintf(json, sizeof json, "{\"_id\":{\"h\":\"%s\",\"t\":1}}", host);
    assert_int_equal(read_json(json, MT_FIELD_ALL, &record, &error), MT_ERR_CORRUPT);
    assert_non_null(strstr(error.text, "correct or delete it"));
}

static void a_projection_names_what_is_chosen(void **state)
{
    bson_t projection = BSON_INITIALIZER;
    char *json;

    (void)state;
    mongodb_projection(MT_FIELD_BIT(MT_FIELD_DIRTY) | MT_FIELD_BIT(MT_FIELD_MEM_FREE), true,
                       &projection);
    json = bson_as_relaxed_extended_json(&projection, NULL);
    assert_string_equal(json, "{ \"_id\" : 1, \"boot_id\" : 1, \"arrival_us\" : 1,"
                              " \"mem_free\" : 1, \"dirty\" : 1 }");
    bson_free(json);
    bson_destroy(&projection);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_records_come_back),
        cmocka_unit_test(a_moved_record_stands_at_its_new_second),
        cmocka_unit_test(a_document_is_as_documented),
        cmocka_unit_test(only_the_chosen_fields_are_read),
        cmocka_unit_test(numbers_of_other_tools_are_read),
        cmocka_unit_test(what_is_no_record_is_corrupt_and_named),
        cmocka_unit_test(a_long_key_does_not_fill_the_message),
        cmocka_unit_test(a_projection_names_what_is_chosen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
