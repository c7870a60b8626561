// A server of MongoDB's wire protocol for the tests: FerretDB on SQLite files, on one loopback port.
//
// It prints its URI once it accepts connections, and ends, with all that it was doing, when its
// standard input ends or on SIGTERM: a test that dies leaves nothing behind.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	dir := flag.String("dir", "", "`directory` that holds the databases; it has to exist")
	listen := flag.String("listen", "127.0.0.1:0", "`address:port` to listen on; port 0 takes a free one")
	cert := flag.String("tls-cert", "", "`file` with the server's certificate; speaks TLS only")
	key := flag.String("tls-key", "", "`file` with the key of --tls-cert")
	ca := flag.String("tls-ca", "", "`file` with the CA whose certificates clients have to show")
	flag.Parse()
	if *dir == "" || flag.NArg() > 0 || (*cert == "") != (*key == "") || (*ca != "" && *cert == "") {
		flag.Usage()
		os.Exit(2)
	}
	if err := serve(*dir, *listen, *cert, *key, *ca); err != nil {
		fmt.Fprintln(os.Stderr, "ferretdb:", err)
		os.Exit(1)
	}
}

func serve(dir, listen, cert, key, ca string) error {
	config := &ferretdb.Config{
		Logger:  slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
		Handler: "sqlite",
		// what a killed process wrote survives it without an fsync
		SQLiteURL: (&url.URL{
			Scheme:   "file",
			Path:     strings.TrimSuffix(dir, "/") + "/",
			OmitHost: true,
			RawQuery: url.Values{"_pragma": {"synchronous(off)"}}.Encode(),
		}).String(),
	}
	if cert == "" {
		config.Listener.TCP = listen
	} else {
		config.Listener.TLS = listen
		config.Listener.TLSCertFile = cert
		config.Listener.TLSKeyFile = key
		config.Listener.TLSCAFile = ca
	}

	// every query reads whole collections: a third of its time would go into collecting what it leaves
	debug.SetGCPercent(800)
	debug.SetMemoryLimit(1 << 30)

	server, err := ferretdb.New(config)
	if err != nil {
		return err
	}
	ended := make(chan error, 2)
	go func() { ended <- server.Run(context.Background()) }()
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		ended <- err
	}()
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM, syscall.SIGINT)

	// it has listened since New: whoever connects from here on is served
	fmt.Println(server.MongoDBURI())
	select {
	case err = <-ended:
	case <-terminated:
	}
	return err
}
