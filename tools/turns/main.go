// Program turns measures several network paths in turn, a few milliseconds each.
//
// Four parts, one program:
//
//	turns serve   answers in a server's pod: echo, sink, datagrams
//	turns client  does operations on one path, when it is told to (started by run)
//	turns run     gives the clients their turns in random order, and writes what each operation took
//	turns load    sends requests to one path when each is due, and writes what became of each
//
// A client is a process of its own, so that its sockets belong to its pod's network namespace and
// cgroup as any program's there. Clients share one CPU with the process that gives the turns: a turn
// costs a switch between processes, which is not part of any operation's time.
package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"
)

// Threads stay in system calls with their processor held, so there is one for each.
const threads = 512

func main() {
	commands := map[string]func([]string) error{"serve": serve, "client": client, "run": run, "load": load}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: turns serve|client|run|load [options]; turns serve -help")
		os.Exit(2)
	}
	if err := undisturbed(); err != nil {
		fmt.Fprintf(os.Stderr, "turns: %v\n", err)
		os.Exit(1)
	}
	if err := commands[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "turns %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}

// undisturbed keeps Go's runtime out of what is timed: no signals between threads, no collections.
// The first can be had at a program's start only, so it starts itself once more.
func undisturbed() error {
	const name, value = "GODEBUG", "asyncpreemptoff=1"
	debug.SetGCPercent(-1)
	runtime.GOMAXPROCS(threads)
	if os.Getenv(name) == value {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.Setenv(name, value); err != nil {
		return err
	}
	return fmt.Errorf("cannot start again: %w", syscall.Exec(self, os.Args, os.Environ()))
}
