# Traefik without its dashboard. go.mod takes over the replace and exclude lines of Traefik's own, and
# ext/ stands for a module of it that cannot be fetched. go.sum has just what the build needs:
#   go mod tidy; : >go.sum; go list -mod=mod -deps github.com/traefik/traefik/v3/cmd/traefik
# shellcheck shell=bash disable=SC2034
package=github.com/traefik/traefik/v3/cmd/traefik
ldflags='-X github.com/traefik/traefik/v3/pkg/version.Version=3.7.9'
