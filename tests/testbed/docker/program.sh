# The docker client. go.mod takes over what the client's own vendor.mod asks for; go.sum has just
# what the build needs: go mod tidy; : >go.sum; go list -mod=mod -deps github.com/docker/cli/cmd/docker
# shellcheck shell=bash disable=SC2034
package=github.com/docker/cli/cmd/docker
tags=osusergo
ldflags='-X github.com/docker/cli/cli/version.Version=28.2.2'
