/* Listening addresses: what is accepted can be given to the kernel as it is. */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/setting.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mt_address address;
    struct in6_addr binary;

    memset(&address, 0x5A, sizeof address);
    if (!mt_address_parse((const char *)data, size, &address)) {
        for (size_t i = 0; i < sizeof address; i++)
            if (((const unsigned char *)&address)[i] != 0x5A)
                abort();
        return 0;
    }
    if (strnlen(address.host, sizeof address.host) == sizeof address.host)
        abort();
    if (address.is_unix) {
        if (strlen(address.host) + 5 != size || size - 5 > 107)
            abort();
    } else if (inet_pton(AF_INET, address.host, &binary) != 1 &&
               inet_pton(AF_INET6, address.host, &binary) != 1) {
        abort();
    }
    return 0;
}
