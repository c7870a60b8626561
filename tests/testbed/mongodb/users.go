package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sort"
	"sync"

	"github.com/xdg-go/scram"
	"go.mongodb.org/mongo-driver/bson"
)

type role struct {
	Role string `bson:"role" json:"role"`
	DB   string `bson:"db" json:"db"`
}

// a user as the data directory keeps it: what checks a password, not the password
type user struct {
	Name       string `json:"user"`
	DB         string `json:"db"`
	Roles      []role `json:"roles"`
	Salt       []byte `json:"salt"`
	Iterations int    `json:"iterations"`
	StoredKey  []byte `json:"storedKey"`
	ServerKey  []byte `json:"serverKey"`
}

func (u *user) id() string { return u.DB + "." + u.Name }

// users: what is in it is replaced, never changed, so that who has got one may read on
type users struct {
	mu   sync.Mutex
	path string
	all  map[string]*user
}

func openUsers(path string) (*users, error) {
	u := &users{path: path, all: map[string]*user{}}
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return u, u.save()
	}
	if err != nil {
		return nil, err
	}
	var list []*user
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, one := range list {
		u.all[one.id()] = one
	}
	return u, nil
}

func (u *users) list() []*user {
	list := []*user{}
	for _, one := range u.all {
		list = append(list, one)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].id() < list[j].id() })
	return list
}

func (u *users) save() error {
	text, err := json.Marshal(u.list())
	if err != nil {
		return err
	}
	if err := os.WriteFile(u.path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(u.path+".new", u.path)
}

func (u *users) find(database, name string) *user {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.all[database+"."+name]
}

// known: the roles of mongod that the stand-in has
func known(r role) bool {
	return r.Role == "read" || r.Role == "readWrite" || (r.Role == "root" && r.DB == rootDatabase)
}

func checkRoles(roles []role) error {
	for _, one := range roles {
		if !known(one) {
			return &failure{31, "RoleNotFound", fmt.Sprintf("Could not find role: %s@%s", one.Role, one.DB)}
		}
	}
	return nil
}

func (u *user) setPassword(password string) error {
	if password == "" {
		return &failure{2, "BadValue", "Password cannot be empty"}
	}
	client, err := scram.SHA256.NewClient(u.Name, password, "")
	if err != nil {
		return &failure{2, "BadValue", "Error preflighting normalization: " + err.Error()}
	}
	salt := make([]byte, 28)
	rand.Read(salt)
	stored := client.GetStoredCredentials(scram.KeyFactors{Salt: string(salt), Iters: 15000})
	u.Salt, u.Iterations = salt, stored.Iters
	u.StoredKey, u.ServerKey = stored.StoredKey, stored.ServerKey
	return nil
}

func (u *users) create(name, database, password string, roles []role) error {
	made := &user{Name: name, DB: database, Roles: roles}
	if name == "" {
		return &failure{2, "BadValue", "Username cannot be empty"}
	}
	if database == "local" || database == "config" {
		return &failure{2, "BadValue", "Cannot create users in the " + database + " database"}
	}
	if err := checkRoles(roles); err != nil {
		return err
	}
	if err := made.setPassword(password); err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.all[made.id()] != nil {
		return &failure{51003, "Location51003", fmt.Sprintf(`User "%s@%s" already exists`, name, database)}
	}
	u.all[made.id()] = made
	return u.save()
}

// update: what is nil stays as it is
func (u *users) update(name, database string, password *string, roles []role) error {
	if password == nil && roles == nil {
		return &failure{2, "BadValue", "Must specify at least one field to update in updateUser"}
	}
	if err := checkRoles(roles); err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	old := u.all[database+"."+name]
	if old == nil {
		return notFound(name, database)
	}
	changed := *old
	if roles != nil {
		changed.Roles = roles
	}
	if password != nil {
		if err := changed.setPassword(*password); err != nil {
			return err
		}
	}
	u.all[changed.id()] = &changed
	return u.save()
}

func (u *users) drop(name, database string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.all[database+"."+name] == nil {
		return notFound(name, database)
	}
	delete(u.all, database+"."+name)
	return u.save()
}

func notFound(name, database string) error {
	return &failure{11, "UserNotFound", fmt.Sprintf("User '%s@%s' not found", name, database)}
}

// info: those whom usersInfo asks for: a name, {user, db}, 1 (all of the database), {forAllDBs: true}
func (u *users) info(wanted bson.RawValue, database string) ([]bson.D, error) {
	all, name := false, ""
	if text, ok := wanted.StringValueOK(); ok {
		name = text
	} else if document, ok := wanted.DocumentOK(); ok {
		if forAll, ok := document.Lookup("forAllDBs").BooleanOK(); ok && forAll {
			all = true
		} else {
			name, _ = document.Lookup("user").StringValueOK()
			database, _ = document.Lookup("db").StringValueOK()
		}
	} else if _, ok := wanted.AsInt64OK(); !ok {
		return nil, &failure{2, "BadValue", "usersInfo: this stand-in for mongod takes a name, {user, db} or 1"}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	found := []bson.D{}
	for _, one := range u.list() {
		if all || (one.DB == database && (name == "" || one.Name == name)) {
			found = append(found, bson.D{{"_id", one.id()}, {"user", one.Name}, {"db", one.DB},
				{"roles", one.Roles}, {"mechanisms", bson.A{"SCRAM-SHA-256"}}})
		}
	}
	return found, nil
}
