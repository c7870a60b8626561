package main

import (
	"bytes"
	"fmt"
	"strings"

	"go.mongodb.org/mongo-driver/bson"
)

type need int

const (
	needNothing need = iota // before authentication, too
	needUser                // whoever it is
	needRead                // on the command's database
	needReadWrite
	needRoot
)

type command struct {
	need   need
	hello  bool
	handle func(*session, *message, string, bson.Raw) (bson.D, error) // nil: FerretDB does it
}

var done = bson.D{{"ok", 1.0}}

// commands: what is not here root alone may have, from FerretDB
var commands map[string]command

func init() {
	greet := func(s *session, _ *message, _ string, document bson.Raw) (bson.D, error) {
		return s.greet(commandName(document), document), nil
	}
	nothing := func(*session, *message, string, bson.Raw) (bson.D, error) { return done, nil }
	commands = map[string]command{
		"hello":    {needNothing, true, greet},
		"isMaster": {needNothing, true, greet},
		"ismaster": {needNothing, true, greet},
		"saslStart": {needNothing, false,
			func(s *session, _ *message, database string, document bson.Raw) (bson.D, error) {
				return s.saslStart(database, document)
			}},
		"saslContinue": {needNothing, false,
			func(s *session, _ *message, _ string, document bson.Raw) (bson.D, error) {
				return s.saslContinue(document)
			}},
		"logout": {needNothing, false,
			func(s *session, _ *message, _ string, _ bson.Raw) (bson.D, error) {
				s.name, s.database = "", ""
				return done, nil
			}},
		"connectionStatus": {needNothing, false, connectionStatus},
		"ping":             {needNothing, false, nil},
		"buildInfo":        {needNothing, false, nil},
		"buildinfo":        {needNothing, false, nil},
		"listCommands":     {needNothing, false, nil},
		"whatsmyuri":       {needNothing, false, nil},

		"endSessions":     {needUser, false, nothing},
		"refreshSessions": {needUser, false, nothing},
		"startSession":    {needUser, false, nil},
		"listDatabases":   {needUser, false, listDatabases},

		"createUser": {needRoot, false, createUser},
		"updateUser": {needRoot, false, updateUser},
		"dropUser": {needRoot, false,
			func(s *session, _ *message, database string, document bson.Raw) (bson.D, error) {
				name, _ := document.Lookup("dropUser").StringValueOK()
				return done, s.server.users.drop(name, database)
			}},
		"usersInfo": {needRoot, false,
			func(s *session, _ *message, database string, document bson.Raw) (bson.D, error) {
				found, err := s.server.users.info(document.Lookup("usersInfo"), database)
				return bson.D{{"users", found}, {"ok", 1.0}}, err
			}},
		"shutdown": {needRoot, false,
			func(s *session, _ *message, _ string, _ bson.Raw) (bson.D, error) {
				s.server.askedToStop()
				return done, nil
			}},
	}
	for _, name := range []string{"aggregate", "collStats", "count", "dataSize", "dbStats", "dbstats",
		"distinct", "explain", "find", "getMore", "killCursors", "listCollections", "listIndexes"} {
		commands[name] = command{need: needRead}
	}
	for _, name := range []string{"collMod", "create", "createIndexes", "delete", "drop", "dropIndexes",
		"findAndModify", "findandmodify", "insert", "update"} {
		commands[name] = command{need: needReadWrite}
	}
}

func (u *users) byID(id string) *user {
	database, name, _ := strings.Cut(id, ".")
	return u.find(database, name)
}

// grants: what a user may at most do on a database
func (u *user) grants(database string) need {
	most := needUser
	for _, one := range u.Roles {
		switch {
		case one.Role == "root":
			return needRoot
		case one.DB != database:
		case one.Role == "readWrite":
			most = max(most, needReadWrite)
		case one.Role == "read":
			most = max(most, needRead)
		}
	}
	return most
}

// permit: whether this client may do it; roles count as they are now, not as they were at login
func (s *session) permit(name string, wanted need, database string, document bson.Raw) error {
	if !s.auth || wanted == needNothing {
		return nil
	}
	if s.database == "" {
		return &failure{13, "Unauthorized", fmt.Sprintf("Command %s requires authentication", name)}
	}
	u := s.server.users.find(s.database, s.name)
	if u != nil && u.grants(database) >= max(wanted, hidden(name, document)) {
		return nil
	}
	return &failure{13, "Unauthorized", fmt.Sprintf("not authorized on %s to execute command %s",
		database, shown(document))}
}

// hidden: what a command needs for what it holds
func hidden(name string, document bson.Raw) need {
	switch name {
	case "explain":
		inner, _ := document.Lookup("explain").DocumentOK()
		held, known := commands[commandName(inner)]
		if !known {
			return needRoot
		}
		return held.need
	case "aggregate":
		pipeline, _ := document.Lookup("pipeline").ArrayOK()
		stages, _ := pipeline.Values()
		for _, stage := range stages {
			one, _ := stage.DocumentOK()
			if key := commandName(one); key == "$out" || key == "$merge" {
				return needReadWrite
			}
		}
	}
	return needNothing
}

// shown: the command as an error names it, without what it carries
func shown(document bson.Raw) string {
	elements, err := document.Elements()
	if err != nil || len(elements) == 0 {
		return "{}"
	}
	return fmt.Sprintf("{ %s: %s, ... }", elements[0].Key(), elements[0].Value())
}

func connectionStatus(s *session, _ *message, _ string, _ bson.Raw) (bson.D, error) {
	who, roles := bson.A{}, []role{}
	if u := s.server.users.find(s.database, s.name); u != nil {
		who, roles = bson.A{bson.D{{"user", u.Name}, {"db", u.DB}}}, u.Roles
	}
	return bson.D{{"authInfo", bson.D{{"authenticatedUsers", who}, {"authenticatedUserRoles", roles}}},
		{"ok", 1.0}}, nil
}

// listDatabases: FerretDB's answer, of which each user sees what the user may read
func listDatabases(s *session, request *message, _ string, _ bson.Raw) (bson.D, error) {
	raw, err := s.forward(request)
	if err != nil {
		return nil, err
	}
	document, err := (&message{raw: raw}).command()
	if err != nil {
		return nil, err
	}
	var reply bson.D
	if err := bson.Unmarshal(document, &reply); err != nil {
		return nil, err
	}
	u := s.server.users.find(s.database, s.name)
	for i, field := range reply {
		all, ok := field.Value.(bson.A)
		if field.Key != "databases" || !ok || !s.auth {
			continue
		}
		mine := bson.A{}
		for _, one := range all {
			name, _ := one.(bson.D).Map()["name"].(string)
			if u != nil && u.grants(name) >= needRead {
				mine = append(mine, one)
			}
		}
		reply[i].Value = mine
	}
	return reply, nil
}

// userFields: password and roles as createUser and updateUser hold them
func userFields(document bson.Raw, database string) (password *string, roles []role, err error) {
	if value, ok := document.Lookup("pwd").StringValueOK(); ok {
		password = &value
	}
	given, ok := document.Lookup("roles").ArrayOK()
	if !ok {
		return password, nil, nil
	}
	roles = []role{}
	values, _ := given.Values()
	for _, value := range values {
		one := role{DB: database}
		if name, ok := value.StringValueOK(); ok {
			one.Role = name
		} else if err := value.Unmarshal(&one); err != nil || one.Role == "" {
			return nil, nil, &failure{2, "BadValue", "Role must be either a string or an object"}
		}
		roles = append(roles, one)
	}
	return password, roles, checkFields(document)
}

// checkFields: mongod refuses what it does not know
func checkFields(document bson.Raw) error {
	known := []byte(" createUser updateUser pwd roles customData mechanisms digestPassword writeConcern comment " +
		"passwordDigestor authenticationRestrictions maxTimeMS apiVersion ")
	elements, _ := document.Elements()
	for _, element := range elements {
		key := element.Key()
		if !strings.HasPrefix(key, "$") && key != "lsid" && !bytes.Contains(known, []byte(" "+key+" ")) {
			return &failure{40415, "Location40415",
				fmt.Sprintf("BSON field '%s.%s' is an unknown field.", commandName(document), key)}
		}
	}
	return nil
}

func createUser(s *session, _ *message, database string, document bson.Raw) (bson.D, error) {
	name, _ := document.Lookup("createUser").StringValueOK()
	password, roles, err := userFields(document, database)
	switch {
	case err != nil:
		return nil, err
	case roles == nil:
		return nil, &failure{40414, "Location40414",
			"BSON field 'createUser.roles' is missing but a required field"}
	case password == nil:
		return nil, &failure{2, "BadValue", "Must provide a 'pwd' field for all user documents, except " +
			"those with '$external' as the user's source db"}
	}
	return done, s.server.users.create(name, database, *password, roles)
}

func updateUser(s *session, _ *message, database string, document bson.Raw) (bson.D, error) {
	name, _ := document.Lookup("updateUser").StringValueOK()
	password, roles, err := userFields(document, database)
	if err != nil {
		return nil, err
	}
	return done, s.server.users.update(name, database, password, roles)
}
