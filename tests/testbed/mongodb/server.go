package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/FerretDB/FerretDB/ferretdb"
)

// server: FerretDB behind a private socket, and the clients' connections before it
type server struct {
	users    *users
	socket   string
	cancel   context.CancelFunc
	ended    chan struct{}
	failed   chan error
	shutdown chan struct{}
	once     sync.Once
	numbers  atomic.Int32
}

func newServer(dbpath string, users *users) (*server, error) {
	databases := filepath.Join(dbpath, "databases")
	if err := os.MkdirAll(databases, 0o700); err != nil {
		return nil, err
	}
	// /tmp, as mongod has its socket there
	private, err := os.MkdirTemp("", "mongodb-")
	if err != nil {
		return nil, err
	}
	// some containers have a limit not far from what this takes
	debug.SetGCPercent(200)
	debug.SetMemoryLimit(192 << 20)
	socket := filepath.Join(private, "ferretdb.sock")
	database, err := ferretdb.New(&ferretdb.Config{
		Listener: ferretdb.ListenerConfig{Unix: socket},
		Logger:   slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
		Handler:  "sqlite",
		// what a killed process wrote survives it without an fsync
		SQLiteURL: (&url.URL{
			Scheme: "file", Path: strings.TrimSuffix(databases, "/") + "/", OmitHost: true,
			RawQuery: url.Values{"_pragma": {"synchronous(off)"}}.Encode(),
		}).String(),
	})
	if err != nil {
		os.RemoveAll(private)
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	made := &server{
		users: users, socket: socket, cancel: cancel, ended: make(chan struct{}),
		failed: make(chan error, 1), shutdown: make(chan struct{}),
	}
	go func() {
		defer close(made.ended)
		if err := database.Run(ctx); err != nil && ctx.Err() == nil {
			made.failed <- fmt.Errorf("FerretDB: %w", err)
		}
	}()
	return made, nil
}

func (s *server) stop() {
	s.cancel()
	<-s.ended
	os.RemoveAll(filepath.Dir(s.socket))
}

func (s *server) askedToStop() { s.once.Do(func() { close(s.shutdown) }) }

// serve accepts clients until the listener is closed, which closes them, too; then the channel
func (s *server) serve(listener net.Listener, auth bool) <-chan struct{} {
	done := make(chan struct{})
	var mu sync.Mutex
	var running sync.WaitGroup
	open := map[net.Conn]bool{}

	logLine("NETWORK", "Waiting for connections", map[string]any{
		"port": listener.Addr().(*net.TCPAddr).Port, "ssl": "off",
	})
	go func() {
		defer close(done)
		for {
			client, err := listener.Accept()
			if err != nil {
				break
			}
			mu.Lock()
			open[client] = true
			mu.Unlock()
			running.Add(1)
			go func() {
				defer running.Done()
				newSession(s, client, auth).serve()
				mu.Lock()
				delete(open, client)
				mu.Unlock()
			}()
		}
		mu.Lock()
		for client := range open {
			client.Close()
		}
		mu.Unlock()
		running.Wait()
	}()
	return done
}
