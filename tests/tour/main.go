// Command tour shows a node at work: it starts one with the default plugins and config.hcl, makes an account, installs the
// sample key-value app, creates a context and calls it with a bearer token. It prints every step with the command that
// does the same, and leaves the node running until Ctrl-C. It runs in the project's root, after make build.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/calimero-go/core/tests/harness"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "tour:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("tour", flag.ContinueOnError)
	home := flags.String("home", "", "folder for the node, kept afterwards; a temporary one without it")
	once := flags.Bool("once", false, "end after the calls")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unknown argument %q; see -h", flags.Arg(0))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	t, err := newTour(ctx, *home, out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.end()) }()
	if err := t.walk(ctx); err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		return fmt.Errorf("%w\n\nlog of the node:\n%s", err, t.node.Log())
	}
	if *once {
		return nil
	}
	fmt.Fprintf(out, "The node runs at %s until Ctrl-C.\n", t.node.URL())
	select {
	case <-ctx.Done():
		return nil
	case <-t.node.Exited():
		return fmt.Errorf("the node ended by itself; its log:\n%s", t.node.Log())
	}
}

// tour is one walk.
type tour struct {
	node    *harness.Node
	out     io.Writer
	steps   int
	account account
}

// account is who logs in; a named home keeps it in account.json.
type account struct {
	User     string `json:"user"`
	Password string `json:"password"`
}

func newTour(ctx context.Context, home string, out io.Writer) (*tour, error) {
	config, err := filepath.Abs("config.hcl")
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(config); err != nil {
		return nil, fmt.Errorf("find the configuration: %w; run it in the project's root, as make run does", err)
	}
	if home != "" {
		if home, err = filepath.Abs(home); err != nil {
			return nil, err
		}
	}
	n, err := harness.New(ctx, harness.Options{Home: home, Config: config})
	if err != nil {
		return nil, err
	}
	t := &tour{node: n, out: out}
	if t.account, err = openAccount(filepath.Join(n.Home, "account.json")); err != nil {
		return nil, errors.Join(err, n.Remove())
	}
	return t, nil
}

// openAccount reads the account of an earlier walk, or invents one.
func openAccount(path string) (account, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		a := account{User: "admin", Password: rand.Text()}
		if b, err = json.Marshal(a); err != nil {
			return a, err
		}
		return a, os.WriteFile(path, b, 0o600)
	}
	var a account
	if err == nil {
		err = json.Unmarshal(b, &a)
	}
	if err != nil {
		return a, fmt.Errorf("read the account: %w; delete the file to start over with another home", err)
	}
	return a, nil
}

// step prints what was done and the command that does the same.
func (t *tour) step(what string, command string) {
	t.steps++
	fmt.Fprintf(t.out, "%d. %s\n", t.steps, what)
	for line := range strings.Lines(command) {
		fmt.Fprintf(t.out, "     %s", line)
	}
	fmt.Fprint(t.out, "\n\n")
}

func (t *tour) walk(ctx context.Context) error {
	n := t.node
	// merod init gives the node its keys and, in its config.toml, free ports on this machine only.
	if out, err := n.Init(ctx, "--auth-mode", "embedded", "--server-host", "127.0.0.1", "--server-port", "0",
		"--swarm-host", "127.0.0.1", "--swarm-port", "0", "--no-mdns"); err != nil {
		return fmt.Errorf("make the node: %w\n%s", err, out)
	}
	if err := n.Start(ctx); err != nil {
		return err
	}
	t.step("Started a node with three plugins, each a process of its own; it serves "+n.URL(),
		fmt.Sprintf("bin/merod --home %s --node node --config config.hcl run", n.Home))

	c, err := n.Client().LoggedIn(ctx, t.account.User, t.account.Password)
	if err != nil {
		return fmt.Errorf("log in as %s: %w", t.account.User, err)
	}
	t.step(fmt.Sprintf("Logged in as %s; the first login makes the account", t.account.User), t.login())

	path, err := n.AppFile("kv")
	if err != nil {
		return err
	}
	application, err := c.InstallPath(ctx, path)
	if err != nil {
		return fmt.Errorf("install %s: %w", path, err)
	}
	t.step("Installed the sample app kv: "+application,
		t.curl("/admin-api/install-dev-application", map[string]any{"path": path, "metadata": harness.Bytes{}}))

	x, err := c.CreateContext(ctx, application, nil)
	if err != nil {
		return fmt.Errorf("create a context: %w", err)
	}
	t.step(fmt.Sprintf("Created a context: %s, whose member here is %s", x.ID, x.Member),
		t.curl("/admin-api/contexts", map[string]any{"applicationId": application, "initializationParams": harness.Bytes{}}))

	if _, err := t.call(ctx, x, "set", map[string]any{"key": "greeting", "value": "hello"}); err != nil {
		return err
	}
	got, err := t.call(ctx, x, "get", map[string]any{"key": "greeting"})
	if err != nil {
		return err
	}
	if string(got) != `"hello"` {
		return fmt.Errorf("get answered %s, not \"hello\"", got)
	}
	_, err = n.Client().CreateContext(ctx, application, nil)
	var status *harness.StatusError
	if !errors.As(err, &status) || status.Status != 401 {
		return errors.Join(errors.New("a request without a token was not refused"), err)
	}
	t.step("Tried it without a token, and was refused: status 401", "curl -i -X POST "+n.URL()+"/admin-api/contexts")
	return nil
}

func (t *tour) call(ctx context.Context, x *harness.Context, method string, args map[string]any) (json.RawMessage, error) {
	out, err := x.Call(ctx, method, args)
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", method, err)
	}
	text, err := json.Marshal(args)
	if err != nil {
		return nil, err
	}
	t.step(fmt.Sprintf("Called %s %s, which answered %s", method, text, out), t.curl("/jsonrpc", map[string]any{
		"jsonrpc": "2.0", "id": 1, "method": "execute", "params": map[string]any{
			"contextId": x.ID, "method": method, "argsJson": args, "executorPublicKey": x.Member,
		},
	}))
	return out, nil
}

func (t *tour) login() string {
	body := map[string]any{
		"auth_method": "user_password", "public_key": t.account.User, "client_name": "tour", "timestamp": 0,
		"provider_data": map[string]any{"username": t.account.User, "password": t.account.Password},
	}
	return "TOKEN=$(curl -s " + t.node.URL() + "/auth/token -H 'Content-Type: application/json' \\\n  -d '" + compact(body) +
		`' | sed 's/.*"access_token":"\([^"]*\)".*/\1/')`
}

func (t *tour) curl(path string, body any) string {
	return "curl -s " + t.node.URL() + path + ` -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \` +
		"\n  -d '" + compact(body) + "'"
}

func compact(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // only texts, numbers and byte lists
	}
	return string(b)
}

func (t *tour) end() error {
	var err error
	if t.node.Running() {
		_, err = t.node.Stop(context.Background())
	}
	return errors.Join(err, t.node.Remove())
}
