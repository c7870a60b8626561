package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/xdg-go/scram"
	"go.mongodb.org/mongo-driver/bson"
)

// failure: what mongod answers where it does not do as it is told
type failure struct {
	code int32
	name string
	text string
}

func (f *failure) Error() string { return f.text }

func failed(err error) bson.D {
	said := &failure{}
	if !errors.As(err, &said) {
		said = &failure{1, "InternalError", err.Error()}
	}
	return bson.D{{"ok", 0.0}, {"errmsg", said.text}, {"code", said.code}, {"codeName", said.name}}
}

// session: one client's connection; of its own goroutine alone
type session struct {
	server   *server
	client   net.Conn
	reader   *bufio.Reader
	number   int32
	auth     bool // whether access is controlled
	name     string
	database string // where the user named name is; "" before authentication
	backend  net.Conn
	login    *login
}

// login: a SCRAM conversation that has begun
type login struct {
	conversation *scram.ServerConversation
	database     string
	skipEmpty    bool
}

func newSession(server *server, client net.Conn, auth bool) *session {
	return &session{
		server: server, client: client, reader: bufio.NewReader(client), auth: auth,
		number: server.numbers.Add(1),
	}
}

func (s *session) serve() {
	defer s.client.Close()
	defer func() {
		if s.backend != nil {
			s.backend.Close()
		}
	}()
	for {
		request, err := readMessage(s.reader)
		if err != nil {
			return
		}
		response, err := s.respond(request)
		if err != nil {
			logLine("NETWORK", "Ending a connection: "+err.Error(), map[string]any{"client": s.client.RemoteAddr().String()})
			return
		}
		if response == nil {
			continue
		}
		if _, err := s.client.Write(response); err != nil {
			return
		}
	}
}

const (
	opQuery = 2004
	opMsg   = 2013
)

func (s *session) respond(request *message) ([]byte, error) {
	switch request.opcode {
	case opQuery:
		collection, document, err := request.query()
		if err != nil {
			return nil, err
		}
		reply := failed(&failure{352, "UnsupportedOpQueryCommand",
			"Unsupported OP_QUERY command: the client driver may require an upgrade"})
		if name := commandName(document); collection == "admin.$cmd" && commands[name].handle != nil &&
			commands[name].hello {
			reply = s.greet(name, document)
		}
		raw, err := bson.Marshal(reply)
		return answerQuery(request.requestID, raw), err
	case opMsg:
		document, err := request.command()
		if err != nil {
			return nil, err
		}
		silent := request.takeMoreToCome()
		response, err := s.execute(request, document)
		if silent {
			response = nil
		}
		return response, err
	}
	return nil, fmt.Errorf("a message of kind %d", request.opcode)
}

func commandName(document bson.Raw) string {
	elements, err := document.Elements()
	if err != nil || len(elements) == 0 {
		return ""
	}
	return elements[0].Key()
}

func (s *session) execute(request *message, document bson.Raw) ([]byte, error) {
	database, _ := document.Lookup("$db").StringValueOK()
	name := commandName(document)
	command, known := commands[name]
	if !known {
		command.need = needRoot
	}
	var reply bson.D
	err := s.permit(name, command.need, database, document)
	if err == nil && command.handle == nil {
		return s.forward(request)
	}
	if err == nil {
		reply, err = command.handle(s, request, database, document)
	}
	if err != nil {
		reply = failed(err)
	}
	raw, err := bson.Marshal(reply)
	return answer(request.requestID, raw), err
}

// forward: what FerretDB answers
func (s *session) forward(request *message) ([]byte, error) {
	if s.backend == nil {
		backend, err := net.Dial("unix", s.server.socket)
		if err != nil {
			return nil, err
		}
		s.backend = backend
	}
	if _, err := s.backend.Write(request.raw); err != nil {
		return nil, err
	}
	response, err := readMessage(s.backend)
	if err != nil {
		return nil, err
	}
	return response.raw, nil
}

// greet: the answer to hello
func (s *session) greet(name string, document bson.Raw) bson.D {
	reply := bson.D{}
	if name == "hello" {
		reply = append(reply, bson.E{"isWritablePrimary", true})
	} else {
		reply = append(reply, bson.E{"ismaster", true})
		if helloOk, _ := document.Lookup("helloOk").BooleanOK(); helloOk {
			reply = append(reply, bson.E{"helloOk", true})
		}
	}
	// what FerretDB says of itself
	reply = append(reply, bson.D{{"maxBsonObjectSize", int32(16 << 20)}, {"maxMessageSizeBytes", int32(longest)},
		{"maxWriteBatchSize", int32(100000)}, {"localTime", time.Now()},
		{"logicalSessionTimeoutMinutes", int32(30)}, {"connectionId", s.number},
		{"minWireVersion", int32(0)}, {"maxWireVersion", int32(21)}, {"readOnly", false}}...)
	if wanted, ok := document.Lookup("saslSupportedMechs").StringValueOK(); ok {
		if u := s.server.users.byID(wanted); u != nil {
			reply = append(reply, bson.E{"saslSupportedMechs", bson.A{"SCRAM-SHA-256"}})
		}
	}
	if attempt, ok := document.Lookup("speculativeAuthenticate").DocumentOK(); ok {
		database, _ := attempt.Lookup("db").StringValueOK()
		if started, err := s.saslStart(database, attempt); err == nil {
			reply = append(reply, bson.E{"speculativeAuthenticate", started[:len(started)-1]})
		}
	}
	return append(reply, bson.E{"ok", 1.0})
}

func (s *session) notAuthenticated(name, database string) error {
	s.login = nil
	logLine("ACCESS", "Authentication failed", map[string]any{
		"client": s.client.RemoteAddr().String(), "user": name, "db": database,
	})
	return &failure{18, "AuthenticationFailed", "Authentication failed."}
}

func (s *session) saslStart(database string, document bson.Raw) (bson.D, error) {
	if mechanism, _ := document.Lookup("mechanism").StringValueOK(); mechanism != "SCRAM-SHA-256" {
		// users have no credentials for another one
		return nil, s.notAuthenticated("", database)
	}
	lookup := func(name string) (scram.StoredCredentials, error) {
		u := s.server.users.find(database, name)
		if u == nil {
			return scram.StoredCredentials{}, errors.New("no such user")
		}
		return scram.StoredCredentials{
			KeyFactors: scram.KeyFactors{Salt: string(u.Salt), Iters: u.Iterations},
			StoredKey:  u.StoredKey, ServerKey: u.ServerKey,
		}, nil
	}
	checker, err := scram.SHA256.NewServer(lookup)
	if err != nil {
		return nil, err
	}
	skipEmpty := false
	if given, ok := document.Lookup("options").DocumentOK(); ok {
		skipEmpty, _ = given.Lookup("skipEmptyExchange").BooleanOK()
	}
	s.login = &login{checker.NewConversation(), database, skipEmpty}
	return s.saslStep(document)
}

func (s *session) saslContinue(document bson.Raw) (bson.D, error) {
	if s.login == nil {
		return nil, &failure{17, "ProtocolError", "No SASL session state found"}
	}
	return s.saslStep(document)
}

func (s *session) saslStep(document bson.Raw) (bson.D, error) {
	_, payload, _ := document.Lookup("payload").BinaryOK()
	conversation, said, done := s.login.conversation, "", false
	if conversation.Done() && conversation.Valid() {
		// the exchange of nothing that older drivers end with
		done = true
	} else {
		var err error
		said, err = conversation.Step(string(payload))
		if err != nil || (conversation.Done() && !conversation.Valid()) {
			return nil, s.notAuthenticated(conversation.Username(), s.login.database)
		}
		done = conversation.Done() && s.login.skipEmpty
	}
	if done {
		s.name, s.database = conversation.Username(), s.login.database
		s.login = nil
	}
	return bson.D{{"conversationId", int32(1)}, {"done", done},
		{"payload", []byte(said)}, {"ok", 1.0}}, nil
}
