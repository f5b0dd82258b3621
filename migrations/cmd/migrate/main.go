// Command migrate is the only process that changes a schema in production.
//
//	migrate up|down|status|bootstrap [-service NAME]
//
// DATABASE_MIGRATION_URL, or DATABASE_URL, is the owner's address. bootstrap
// makes schemas and roles and takes passwords from MANAS_<SERVICE>_PASSWORD.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/manas360/platform/migrations"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "migrate:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 || !slices.Contains([]string{"up", "down", "status", "bootstrap"}, args[0]) {
		return errors.New("say what to do: up, down, status or bootstrap")
	}
	flags := flag.NewFlagSet("migrate", flag.ContinueOnError)
	only := flags.String("service", "", "one service instead of all: "+strings.Join(migrations.Services(), ", "))
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	services := migrations.Services()
	if *only != "" {
		if !slices.Contains(services, *only) {
			return fmt.Errorf("there is no service %q; there are %s", *only, strings.Join(services, ", "))
		}
		services = []string{*only}
	}
	url := os.Getenv("DATABASE_MIGRATION_URL")
	if url == "" {
		url = os.Getenv("DATABASE_URL")
	}
	if url == "" {
		return errors.New("set DATABASE_MIGRATION_URL or DATABASE_URL to the owner's address")
	}
	if args[0] == "bootstrap" {
		return bootstrap(ctx, url)
	}
	for _, s := range services {
		if err := one(ctx, args[0], s, url); err != nil {
			return err
		}
	}
	return nil
}

func bootstrap(ctx context.Context, url string) error {
	passwords := map[string]string{}
	for _, s := range migrations.Services() {
		if p := os.Getenv("MANAS_" + strings.ToUpper(s) + "_PASSWORD"); p != "" {
			passwords[s] = p
		}
	}
	if err := migrations.Bootstrap(ctx, url, passwords); err != nil {
		return err
	}
	fmt.Printf("schemas and roles are there, %d passwords set\n", len(passwords))
	return nil
}

func one(ctx context.Context, verb, service, url string) error {
	switch verb {
	case "up":
		done, err := migrations.Up(ctx, service, url)
		for _, version := range done { // those before a failure too
			fmt.Printf("%-14s %05d applied\n", service, version)
		}
		if err != nil {
			return err
		}
		if len(done) == 0 {
			fmt.Printf("%-14s is up to date\n", service)
		}
	case "down":
		if err := migrations.Down(ctx, service, url); err != nil {
			return err
		}
		fmt.Printf("%-14s taken down\n", service)
	case "status":
		list, err := migrations.Status(ctx, service, url)
		if err != nil {
			return err
		}
		for _, s := range list {
			state := "pending"
			if s.Applied {
				state = "applied"
			}
			fmt.Printf("%-14s %-28s %s\n", service, s.Name, state)
		}
	}
	return nil
}
