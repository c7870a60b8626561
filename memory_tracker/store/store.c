#include "store/ops.h"
