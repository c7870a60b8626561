#include "store/http/http.h"

const struct mt_store_ops http_ops = {
    .scheme = "http",
    .open = http_open,
    .close = http_close,
    .append = http_append,
    .scan = http_scan,
    .token = http_token,
    .changes = http_changes,
    .hosts = http_hosts,
    .prune = http_prune,
    .size = http_size,
    .ping = http_ping,
    .verify = http_verify,
};

__attribute__((visibility("default"))) const struct mt_store_module mt_store_module = {
    .version = MT_STORE_MODULE_VERSION,
    .fields = mt_field_names,
    .ops = &http_ops,
};
