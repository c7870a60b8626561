package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// what mongod is told on its command line
type mongodOptions struct {
	dbpath string
	bind   string
	port   int
	auth   bool
}

const rootDatabase = "admin"

// options of mongod that mean nothing here, but are no mistakes; true: a value follows
var ignoredOptions = map[string]bool{
	"--wiredTigerCacheSizeGB": true, "--setParameter": true, "--oplogSize": true, "--slowms": true,
	"--profile": true, "--quiet": false, "--noscripting": false, "--directoryperdb": false,
	"--maxConns": true, "--unixSocketPrefix": true, "--nounixsocket": false, "-v": false,
}

// entry does as docker-entrypoint.sh of the official image does, but for changing the user: it
// runs as the user that it is started as.
func entry(args []string) int {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		args = append([]string{"mongod"}, args...)
	}
	switch filepath.Base(args[0]) {
	case "mongod":
	case "mongosh":
		return shell(args[1:])
	default:
		path, err := exec.LookPath(args[0])
		if err == nil {
			err = syscall.Exec(path, args, os.Environ())
		}
		fmt.Fprintln(os.Stderr, "docker-entrypoint.sh:", err)
		return 127
	}
	mongod, err := parseOptions(args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "Error parsing command line: %v\ntry 'mongod --help' for more information\n", err)
		return 2
	}
	if err := run(mongod); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func parseOptions(args []string) (mongodOptions, error) {
	// the image's entry point adds --bind_ip_all where nothing else is said
	mongod := mongodOptions{dbpath: "/data/db", bind: "0.0.0.0", port: 27017}
	for i := 0; i < len(args); i++ {
		name, value, inline := strings.Cut(args[i], "=")
		need := func() (string, error) {
			if !inline {
				i++
				if i == len(args) {
					return "", fmt.Errorf("the required argument for option '%s' is missing", name)
				}
				value = args[i]
			}
			return value, nil
		}
		var err error
		switch name {
		case "--auth":
			mongod.auth = true
		case "--noauth":
			mongod.auth = false
		case "--bind_ip_all":
			mongod.bind = "0.0.0.0"
		case "--bind_ip":
			mongod.bind, err = need()
			if strings.Contains(mongod.bind, ",") {
				err = errors.New("this stand-in for mongod takes one address for --bind_ip")
			}
		case "--dbpath":
			mongod.dbpath, err = need()
		case "--port":
			if _, err = need(); err == nil {
				mongod.port, err = strconv.Atoi(value)
			}
		default:
			takesValue, known := ignoredOptions[name]
			if !known {
				return mongod, fmt.Errorf("unrecognised option '%s'", args[i])
			}
			if takesValue {
				_, err = need()
			}
		}
		if err != nil {
			return mongod, err
		}
	}
	return mongod, nil
}

// fileEnv: the variable, or what the file holds that VARIABLE_FILE names
func fileEnv(name string) (string, error) {
	value, file := os.Getenv(name), os.Getenv(name+"_FILE")
	if value != "" && file != "" {
		return "", fmt.Errorf("error: both %s and %s_FILE are set (but are exclusive)", name, name)
	}
	if file == "" {
		return value, nil
	}
	held, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	// as the shell's $(< file) does
	return strings.TrimRight(string(held), "\n"), nil
}

func run(mongod mongodOptions) error {
	name, err := fileEnv("MONGO_INITDB_ROOT_USERNAME")
	if err != nil {
		return err
	}
	password, err := fileEnv("MONGO_INITDB_ROOT_PASSWORD")
	if err != nil {
		return err
	}
	if (name == "") != (password == "") {
		return errors.New("error: missing 'MONGO_INITDB_ROOT_USERNAME' or 'MONGO_INITDB_ROOT_PASSWORD'\n" +
			"       both must be specified for a user to be created")
	}
	if name != "" {
		mongod.auth = true
	}
	// tests that run outside a container have the scripts elsewhere
	scripts := os.Getenv("MT_INITDB_DIRECTORY")
	if scripts == "" {
		scripts = "/docker-entrypoint-initdb.d"
	}

	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM, syscall.SIGINT)
	files := initFiles(scripts)
	usersFile := filepath.Join(mongod.dbpath, "users.json")
	_, err = os.Stat(usersFile)
	fresh := errors.Is(err, os.ErrNotExist)
	users, err := openUsers(usersFile)
	if err != nil {
		return fmt.Errorf("the data directory cannot be used: %w", err)
	}
	server, err := newServer(mongod.dbpath, users)
	if err != nil {
		return err
	}
	defer server.stop()

	if fresh && (name != "" || len(files) > 0) {
		// as the image does: reachable on loopback alone, and without access control
		listener, err := listen("127.0.0.1", mongod.port)
		if err != nil {
			return err
		}
		ended := make(chan error, 1)
		ctx, cancel := context.WithCancel(context.Background())
		go func() { ended <- initialise(ctx, server, listener, name, password, files) }()
		select {
		case err = <-ended:
		case <-terminated:
			cancel()
			<-ended
			return nil
		}
		cancel()
		if err != nil {
			return err
		}
		fmt.Print("\nMongoDB init process complete; ready for start up.\n\n")
	}

	listener, err := listen(mongod.bind, mongod.port)
	if err != nil {
		return err
	}
	served := server.serve(listener, mongod.auth)
	select {
	case <-terminated:
		logLine("CONTROL", "Received signal; shutting down", nil)
	case <-server.shutdown:
		logLine("CONTROL", "Shutting down as a client asked for it", nil)
	case err = <-server.failed:
	}
	listener.Close()
	<-served
	return err
}

func listen(address string, port int) (net.Listener, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("Failed to set up listener: %w", err)
	}
	return listener, nil
}

func initFiles(directory string) []string {
	files, _ := filepath.Glob(filepath.Join(directory, "*"))
	sort.Strings(files)
	return files
}

// initialise: the first user, and the scripts; where one fails so does the start, and the next start
// finds a data directory that is not empty any more
func initialise(ctx context.Context, server *server, listener net.Listener, name, password string, files []string) error {
	served := server.serve(listener, false)
	defer func() {
		listener.Close()
		<-served
	}()
	if name != "" {
		err := server.users.create(name, rootDatabase, password, []role{{"root", rootDatabase}})
		if err != nil {
			return err
		}
	}
	database := os.Getenv("MONGO_INITDB_DATABASE")
	if database == "" {
		database = "test"
	}
	environment := []string{}
	for _, variable := range os.Environ() {
		key, _, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(key, "MONGO_INITDB_") {
			environment = append(environment, variable)
		}
	}
	environment = append(environment, "MONGO_INITDB_DATABASE="+database)
	if name != "" {
		environment = append(environment, "MONGO_INITDB_ROOT_USERNAME="+name,
			"MONGO_INITDB_ROOT_PASSWORD="+password)
	}
	port := strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
	for _, file := range files {
		var script *exec.Cmd
		switch filepath.Ext(file) {
		case ".js":
			script = exec.CommandContext(ctx, "/proc/self/exe")
			script.Args = []string{"mongosh", "--host", "127.0.0.1", "--port", port, "--quiet", database, file}
		case ".sh":
			script = exec.CommandContext(ctx, "/bin/bash", file)
		default:
			fmt.Printf("docker-entrypoint.sh: ignoring %s\n\n", file)
			continue
		}
		fmt.Printf("docker-entrypoint.sh: running %s\n", file)
		script.Env, script.Stdout, script.Stderr = environment, os.Stdout, os.Stderr
		if err := script.Run(); err != nil {
			return fmt.Errorf("docker-entrypoint.sh: %s: %w", file, err)
		}
		fmt.Println()
	}
	return nil
}

// logLine: one line of JSON, as mongod writes them
func logLine(component, text string, attributes map[string]any) {
	line := map[string]any{
		"t": map[string]string{"$date": time.Now().UTC().Format("2006-01-02T15:04:05.000Z07:00")},
		"s": "I", "c": component, "ctx": "stand-in", "msg": text,
	}
	if attributes != nil {
		line["attr"] = attributes
	}
	written, err := json.Marshal(line)
	if err == nil {
		fmt.Println(string(written))
	}
}
