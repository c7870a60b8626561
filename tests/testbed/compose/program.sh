# Compose v2. go.sum has just what the build needs:
#   go mod tidy; : >go.sum; go list -mod=mod -deps github.com/docker/compose/v2/cmd
# shellcheck shell=bash disable=SC2034
package=github.com/docker/compose/v2/cmd
ldflags='-X github.com/docker/compose/v2/internal.Version=2.29.7'
