package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

type loginCommand struct {
	Username string `help:"User name." env:"MEROCTL_USERNAME"`
	Password string `help:"Password; asked for without echo if absent." env:"MEROCTL_PASSWORD"`
	Code     string `help:"One-time code that merod init printed, for the first account from another machine." env:"MEROCTL_CODE"`
}

func (l *loginCommand) Run(ctx context.Context, c *cli) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	if l.Username == "" {
		if l.Username, err = c.prompt("User name: "); err != nil {
			return err
		}
	}
	if l.Password == "" {
		if l.Password, err = c.password(); err != nil {
			return err
		}
	}
	n.entry.Tokens = nil
	request := map[string]any{
		"auth_method": "user_password", "public_key": l.Username, "client_name": n.url,
		"timestamp":     time.Now().Unix(),
		"provider_data": map[string]string{"username": l.Username, "password": l.Password},
	}
	if l.Code != "" {
		request["bootstrap_code"] = l.Code
	}
	answer, err := n.send(ctx, http.MethodPost, "/auth/token", request)
	var refused *answerError
	if errors.As(err, &refused) && refused.status == http.StatusNotFound {
		return fmt.Errorf("%s has no accounts (server.auth = \"none\"): no login is needed", n.url)
	}
	if err != nil {
		return err
	}
	k, err := payloadOf[tokens](answer)
	if err != nil {
		return err
	}
	if k.Access == "" {
		return fmt.Errorf("%s answered without a token", n.url)
	}
	if err := n.keep(&k); err != nil {
		return err
	}
	return c.say("logged in at %s as %s", n.url, l.Username)
}

func (c *cli) prompt(question string) (string, error) {
	fmt.Fprint(c.errs, question)
	line, err := bufio.NewReader(c.in).ReadString('\n')
	if line = strings.TrimSpace(line); line == "" {
		return "", errors.Join(errors.New("nothing was entered; give --username"), err)
	}
	return line, nil
}

func (c *cli) password() (string, error) {
	f, ok := c.in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return "", errors.New("no password: set MEROCTL_PASSWORD, or run in a terminal")
	}
	fmt.Fprint(c.errs, "Password: ")
	text, err := term.ReadPassword(int(f.Fd()))
	fmt.Fprintln(c.errs)
	return string(text), err
}
