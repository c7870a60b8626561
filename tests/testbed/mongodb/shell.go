package main

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dop251/goja"
	"go.mongodb.org/mongo-driver/bson"
	"go.mongodb.org/mongo-driver/mongo"
	"go.mongodb.org/mongo-driver/mongo/options"
)

//go:embed shell.js
var prelude string

// what mongosh is told on its command line
type invocation struct {
	host, port, database    string
	user, password, authDB  string
	hasPassword, ask, quiet bool
	noDatabase, json        bool
	evals, files            []string
}

const shellUsage = "mongosh: this stand-in takes --quiet --norc --nodb --json --eval CODE --file FILE --host HOST " +
	"--port PORT -u USER -p [PASSWORD] --authenticationDatabase DB, [URI|HOST[:PORT][/DB]|DB], FILE..."

func isScript(argument string) bool {
	return strings.HasSuffix(argument, ".js") || strings.HasSuffix(argument, ".mongodb")
}

func parseShell(args []string) (*invocation, error) {
	i := &invocation{host: "127.0.0.1", port: "27017", database: "test"}
	addressed := false
	values := map[string]*string{
		"--host": &i.host, "--port": &i.port, "-u": &i.user, "--username": &i.user,
		"--authenticationDatabase": &i.authDB, "-h": &i.host,
	}
	for len(args) > 0 {
		name, value, inline := args[0], "", false
		if strings.HasPrefix(name, "--") {
			name, value, inline = strings.Cut(name, "=")
		}
		args = args[1:]
		follows := inline || len(args) > 0
		take := func() string {
			if inline {
				return value
			}
			value, args = args[0], args[1:]
			return value
		}
		target, takesValue := values[name]
		switch {
		case takesValue && follows:
			*target = take()
		case (name == "--eval" || name == "--file" || name == "-f") && follows:
			if name == "--eval" {
				i.evals = append(i.evals, take())
			} else {
				i.files = append(i.files, take())
			}
		case name == "-p" || name == "--password":
			if inline || (len(args) > 0 && !strings.HasPrefix(args[0], "-")) {
				i.password, i.hasPassword = take(), true
			} else {
				i.ask = true
			}
		case name == "--quiet":
			i.quiet = true
		case name == "--norc" || name == "--shell=false":
		case name == "--nodb":
			i.noDatabase = true
		case name == "--json":
			i.json = true
		case strings.HasPrefix(name, "-"):
			return nil, fmt.Errorf("unknown or incomplete option %s", name)
		case !addressed && !isScript(name):
			addressed = true
			if err := i.address(name); err != nil {
				return nil, err
			}
		default:
			i.files = append(i.files, name)
		}
	}
	return i, nil
}

// address: what stands first: mongodb://..., HOST:PORT/DB or a database
func (i *invocation) address(text string) error {
	if !strings.HasPrefix(text, "mongodb://") {
		place, database, slash := strings.Cut(text, "/")
		if !slash && !strings.ContainsAny(place, ":.") {
			i.database = place
			return nil
		}
		text = "mongodb://" + place + "/" + database
	}
	given, err := url.Parse(text)
	if err != nil {
		return errors.New("Invalid connection string")
	}
	i.host = given.Hostname()
	if given.Port() != "" {
		i.port = given.Port()
	}
	if database := strings.Trim(given.Path, "/"); database != "" {
		i.database = database
		if i.authDB == "" {
			i.authDB = database
		}
	}
	if source := given.Query().Get("authSource"); source != "" {
		i.authDB = source
	}
	if given.User != nil {
		i.user = given.User.Username()
		i.password, i.hasPassword = given.User.Password()
		i.ask = !i.hasPassword
	}
	return nil
}

// engine: the connection that a script works with
type engine struct {
	invocation *invocation
	client     *mongo.Client
}

const patience = 30 * time.Second

// connect: with the user, if there is one; a host on this machine gets 2 s, as mongosh gives it
func (e *engine) connect(user, password, source string) error {
	wait := patience
	if e.invocation.host == "localhost" || strings.HasPrefix(e.invocation.host, "127.") {
		wait = 2 * time.Second
	}
	settings := options.Client().SetHosts([]string{e.invocation.host + ":" + e.invocation.port}).
		SetDirect(true).SetServerSelectionTimeout(wait).SetAppName("mongosh")
	if user != "" {
		if source == "" {
			source = rootDatabase
		}
		settings.SetAuth(options.Credential{Username: user, Password: password, PasswordSet: true, AuthSource: source})
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	client, err := mongo.Connect(ctx, settings)
	if err == nil {
		err = client.Ping(ctx, nil)
	}
	if err != nil {
		return err
	}
	if e.client != nil {
		_ = e.client.Disconnect(ctx)
	}
	e.client = client
	return nil
}

// said: an error as the script sees it
func said(err error) map[string]any {
	command := mongo.CommandError{}
	switch {
	case errors.As(err, &command):
		return map[string]any{"name": "MongoServerError", "message": command.Message,
			"code": command.Code, "codeName": command.Name}
	case strings.Contains(err.Error(), "(AuthenticationFailed)"):
		return map[string]any{"name": "MongoServerError", "message": "Authentication failed.",
			"code": 18, "codeName": "AuthenticationFailed"}
	}
	return map[string]any{"name": "MongoNetworkError", "message": err.Error()}
}

// run: a command and its reply, both as extended JSON
func (e *engine) run(database, command string) map[string]any {
	var document bson.D
	if err := bson.UnmarshalExtJSON([]byte(command), false, &document); err != nil {
		return map[string]any{"error": said(err)}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	reply, err := e.client.Database(database).RunCommand(ctx, document).Raw()
	if err != nil {
		return map[string]any{"error": said(err)}
	}
	text, err := bson.MarshalExtJSON(reply, true, false)
	if err != nil {
		return map[string]any{"error": said(err)}
	}
	return map[string]any{"reply": string(text)}
}

type ended struct{ code int }

func shell(args []string) int {
	given, err := parseShell(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s\n", err, shellUsage)
		return 1
	}
	input := bufio.NewReader(os.Stdin)
	if given.ask && given.user != "" {
		fmt.Print("Enter password: ")
		line, _ := input.ReadString('\n')
		given.password = strings.TrimRight(line, "\r\n")
		fmt.Println()
	}
	e := &engine{invocation: given}
	if !given.noDatabase {
		if err := e.connect(given.user, given.password, given.authDB); err != nil {
			what := said(err)
			fmt.Fprintf(os.Stderr, "%v: %v\n", what["name"], what["message"])
			return 1
		}
		defer e.client.Disconnect(context.Background())
	}
	return e.scripts(input)
}

func (e *engine) scripts(input io.Reader) (code int) {
	defer func() {
		if end, ok := recover().(ended); ok {
			code = end.code
		}
	}()
	vm := goja.New()
	natives := map[string]any{
		"database": e.invocation.database, "connected": e.client != nil, "json": e.invocation.json,
		"run": e.run,
		"login": func(database, user, password string) map[string]any {
			if err := e.connect(user, password, database); err != nil {
				return map[string]any{"error": said(err)}
			}
			return map[string]any{}
		},
		"exit":  func(code int) { panic(ended{code}) },
		"print": func(text string) { fmt.Println(text) },
		"warn":  func(text string) { fmt.Fprintln(os.Stderr, text) },
		"sleep": func(ms int) { time.Sleep(time.Duration(ms) * time.Millisecond) },
		"read": func(path string) map[string]any {
			held, err := os.ReadFile(path)
			if err != nil {
				return map[string]any{"error": fileError(err, path)}
			}
			return map[string]any{"text": string(held)}
		},
		"env": environment(),
	}
	run := func(name, code string) (goja.Value, bool) {
		value, err := vm.RunScript(name, code)
		if err == nil {
			return value, true
		}
		thrown := &goja.Exception{}
		if errors.As(err, &thrown) {
			// as mongosh: without where it was thrown
			fmt.Fprintln(os.Stderr, thrown.Value())
		} else {
			fmt.Fprintln(os.Stderr, err)
		}
		return nil, false
	}
	vm.Set("native", natives)
	if _, ok := run("shell.js", prelude); !ok {
		return 1
	}
	for _, code := range e.invocation.evals {
		value, ok := run("eval", code)
		if !ok {
			return 1
		}
		show, _ := goja.AssertFunction(vm.Get("__show"))
		if _, err := show(goja.Undefined(), value); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	for _, file := range e.invocation.files {
		code, err := os.ReadFile(file)
		if err != nil {
			fmt.Fprintln(os.Stderr, "Error:", err)
			return 1
		}
		if _, ok := run(filepath.Base(file), string(code)); !ok {
			return 1
		}
	}
	if len(e.invocation.evals)+len(e.invocation.files) == 0 {
		code, err := io.ReadAll(input)
		if err != nil {
			return 1
		}
		if _, ok := run("stdin", string(code)); !ok {
			return 1
		}
	}
	return 0
}

func environment() map[string]string {
	all := map[string]string{}
	for _, variable := range os.Environ() {
		key, value, _ := strings.Cut(variable, "=")
		all[key] = value
	}
	return all
}

// fileError: as Node's fs says it
func fileError(err error, path string) map[string]any {
	code, text := "EIO", err.Error()
	switch {
	case errors.Is(err, os.ErrNotExist):
		code, text = "ENOENT", "no such file or directory"
	case errors.Is(err, os.ErrPermission):
		code, text = "EACCES", "permission denied"
	case strings.Contains(text, "is a directory"):
		code, text = "EISDIR", "illegal operation on a directory"
	}
	return map[string]any{"code": code, "message": fmt.Sprintf("%s: %s, open '%s'", code, text, path)}
}
