#!/usr/bin/env bash
# Everything that CI checks but the tests: `npm run check`. Runs all of them and fails if one does.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
export PATH="$PWD/node_modules/.bin:$PATH"

failed=()

# check NAME COMMAND...: runs one check and remembers it if it fails.
check() {
  local name=$1
  shift
  printf 'check: %s\n' "$name"
  "$@" || failed+=("$name")
}

# The generated code is what the protos give.
generated_code() {
  local fresh
  fresh=$(mktemp -d) || return 1
  buf generate --output "$fresh" && diff -r "$fresh/gen" gen
  local status=$?
  rm -rf "$fresh"
  [ "$status" -eq 0 ] || echo 'gen/ is not what proto/ gives: run `npm run generate`'
  return "$status"
}

# The commit whose protos this one must not break: main's last, or on main itself the one before.
breaking_base() {
  local head base
  head=$(git rev-parse HEAD) || return 1
  for base in refs/remotes/origin/main refs/heads/main HEAD^; do
    base=$(git rev-parse --verify --quiet "$base^{commit}") || continue
    if [ "$base" != "$head" ] && git cat-file -e "$base:proto" && git cat-file -e "$base:buf.yaml"; then
      echo "$base"
      return 0
    fi
  done 2>/dev/null
  return 1
}

breaking_changes() {
  local base
  if ! base=$(breaking_base); then
    echo 'skipped: there is no earlier commit with protos to compare with'
    return 0
  fi
  buf breaking --against ".git#ref=$base"
}

check 'types' tsc --noEmit --project tsconfig.test.json
check 'types of the set-up' tsc --noEmit --project tsconfig.setup.json
check 'format and lint' biome check
check 'protos: lint' buf lint
check 'protos: format' buf format --diff --exit-code
check 'protos: breaking changes' breaking_changes
check 'generated code' generated_code

if [ ${#failed[@]} -gt 0 ]; then
  printf 'failed: %s\n' "${failed[@]}"
  exit 1
fi
echo 'all checks passed'
