#!/usr/bin/env bash
# Shows how the platform is, and each service and database of the tenant.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

USAGE="usage: AH_URL=https://HOST AH_KEY=KEY status.sh"
usage_or_go 0 0 "$@"
need AH_URL AH_KEY

# rows LIST FIELD: one line for each, with that field; the first 200.
rows() {
    local row
    api GET "/v1/$1?limit=200"
    printf '\n%s\n' "$1"
    while IFS= read -r row; do
        [[ -n $row ]] || continue
        answer=$row
        printf '  %-24s %-13s %s\n' "$(field name)" "$(field status)" "$(field "$2")$(circuit)"
    done < <(printf '%s\n' "$answer" | sed -E 's/\{"id":"[0-9a-f]{32}","tenant_id"/\n&/g' | grep '"tenant_id"' || true)
}

# circuit: what is wrong with a service.
circuit() {
    if [[ $(field circuit_open) == true ]]; then
        printf '  circuit open after %s crashes' "$(field crash_count)"
    fi
}

api GET /v1/system/health/detailed
printf 'platform %s, disk %s%% used\n' "$(field status)" "$(field used_percent)"
rows services url
rows databases type
