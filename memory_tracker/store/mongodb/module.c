#include "store/mongodb/mongodb.h"

const struct mt_store_ops mongodb_ops = {
    .scheme = "mongodb",
    .open = mongodb_open,
    .close = mongodb_close,
    .append = mongodb_append,
    .scan = mongodb_scan,
    .token = mongodb_token,
    .changes = mongodb_changes,
    .hosts = mongodb_hosts,
    .prune = mongodb_prune,
    .size = mongodb_size,
    .ping = mongodb_ping,
    .verify = mongodb_verify,
};

__attribute__((visibility("default"))) const struct mt_store_module mt_store_module = {
    .version = MT_STORE_MODULE_VERSION,
    .fields = mt_field_names,
    .ops = &mongodb_ops,
};
