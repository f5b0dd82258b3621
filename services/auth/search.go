package auth

import (
	"strings"
	"time"

	"github.com/google/uuid"
)

// cursor is the last row of a page, newest first. Its zero value is not a
// place; first is.
type cursor struct {
	Time  time.Time `json:"t"`
	ID    uuid.UUID `json:"i"`
	Email string    `json:"e,omitempty"` // of a list by address
}

// first stands before every row.
var first = cursor{Time: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), ID: uuid.Max}

// accountSearch narrows the administrator's list; empty fields match everything.
// Sort is one of accountOrders.
type accountSearch struct{ Search, Role, State, Sort string }

// start stands before every row of the order.
func (f accountSearch) start() cursor {
	if f.Sort == "createdAt" {
		return cursor{}
	}
	return first // and no address, which is where both lists by address begin
}

// pattern is Search for ILIKE, its own wildcards taken literally.
func (f accountSearch) pattern() string {
	if f.Search == "" {
		return ""
	}
	return "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(f.Search) + "%"
}

// name binds a page token to its search.
func (f accountSearch) name() string {
	return "accounts\x00" + f.Search + "\x00" + f.Role + "\x00" + f.State + "\x00" + f.Sort
}
