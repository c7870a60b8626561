// A stand-in for the image mongo:8.0 in tests, where no mongod can be had: the image's entry point,
// mongod and mongosh in one static program.
//
// Documents are kept by FerretDB on SQLite, behind a private socket. Before it stands a proxy that
// does what FerretDB does not: SCRAM-SHA-256, users and their roles. Called as mongosh it is a
// shell with the part of mongosh's API that scripts of initdb and health checks use. What it cannot
// do it refuses, so that a test never passes on what mongod would not do; see entry.go for the one
// thing that tests may set apart from the image.
package main

import (
	"os"
	"path/filepath"
)

func main() {
	if filepath.Base(os.Args[0]) == "mongosh" {
		os.Exit(shell(os.Args[1:]))
	}
	os.Exit(entry(os.Args[1:]))
}
