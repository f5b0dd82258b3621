// Command tour walks the main job through the public API of the running local
// stack and prints each step, its status and its time. It stops at the first
// step that does not answer as it should.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/manas360/platform/deploy/internal/api"
)

// stack is what the tour needs to know of the local stack.
type stack struct {
	api.Credentials

	api      string // http://127.0.0.1:5001/api/v1
	messages api.Messages
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "\ntour: %v\n", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

func run(ctx context.Context) error {
	st, err := find()
	if err != nil {
		return err
	}
	fmt.Printf("The tour of %s\n\n", st.api)
	t := &tour{stack: st, client: api.New("", time.Now)}
	began := time.Now()
	for _, part := range []struct {
		title string
		walk  func(context.Context) error
	}{
		{"1. A person joins", t.join},
		{"2. Profile, plans, and a door that stays shut", t.look},
		{"3. Paying opens it", t.pay},
		{"4. The superadmin", t.administrate},
		{"5. Signing out", t.leave},
		{"From callback to working entitlement", t.measure},
	} {
		fmt.Println(part.title)
		err := part.walk(ctx)
		if errors.Is(err, syscall.ECONNREFUSED) {
			return fmt.Errorf("nothing answers at %s: start the stack with `make up` first", st.api)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", part.title, err)
		}
		fmt.Println()
	}
	fmt.Printf("The tour is done in %.1f s: %d steps, all as the contract says.\n", time.Since(began).Seconds(), t.steps)
	return nil
}

// find reads where the stack is from the environment of `make up` and its
// data folder.
func find() (*stack, error) {
	port, data := os.Getenv("PORT"), os.Getenv("MANAS_DATA_DIR")
	if port == "" {
		port = "5001"
	}
	if data == "" {
		data = ".data"
	}
	known, err := api.ReadCredentials(data)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no %s: start the stack with `make up` first", filepath.Join(data, "credentials.json"))
	}
	if err != nil {
		return nil, err
	}
	return &stack{Credentials: known, api: "http://127.0.0.1:" + port + "/api/v1", messages: api.Messages(filepath.Join(data, "messages"))}, nil
}
