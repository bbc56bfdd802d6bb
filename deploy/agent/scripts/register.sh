#!/usr/bin/env bash
# Registers a tenant; prints its id and its key, which is shown this once.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

USAGE="usage: AH_URL=https://HOST [AH_BOOTSTRAP_TOKEN=TOKEN] register.sh NAME EMAIL"
usage_or_go 2 2 "$@"
need AH_URL
AH_KEY=""

api POST /v1/tenants/register "{\"name\":$(text "$1"),\"email\":$(text "$2")}" \
    "${AH_BOOTSTRAP_TOKEN:+X-Bootstrap-Token: $AH_BOOTSTRAP_TOKEN}"
printf 'tenant_id: %s\nexport AH_KEY=%s\n' "$(field tenant_id)" "$(field api_key)"
