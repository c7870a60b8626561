#include "store/mongodb/mongodb.h"

const struct mt_store_ops mongodb_ops = {
    .scheme = "mongodb",
    .open = mongodb_open,
    .close = mongodb_close,
    .append = mongodb_append,
    .ping = mongodb_ping,
};

__attribute__((visibility("default"))) const struct mt_store_module mt_store_module = {
    .version = MT_STORE_MODULE_VERSION,
    .ops = &mongodb_ops,
};
