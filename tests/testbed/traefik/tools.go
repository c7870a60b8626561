//go:build tools

// Package tools names the program whose modules go.mod and go.sum pin.
package tools

import _ "github.com/traefik/traefik/v3/cmd/traefik"
