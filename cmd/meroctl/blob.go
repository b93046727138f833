package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"github.com/calimero-go/core/core/api/schema"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

type blobCommand struct {
	Upload   blobUpload   `cmd:"" help:"Store a file."`
	Download blobDownload `cmd:"" help:"Fetch a blob into a file."`
	Info     blobInfo     `cmd:"" help:"Show a blob's size, hash and type."`
	List     blobList     `cmd:"" aliases:"ls" help:"List the blobs."`
	Delete   blobDelete   `cmd:"" aliases:"rm" help:"Delete a blob."`
}

// inContext adds the context that a blob is announced to, or fetched from.
func (n *client) inContext(ctx context.Context, path, name string) (string, error) {
	if name == "" {
		return path, nil
	}
	id, err := n.context(ctx, name)
	return path + "?context_id=" + url.QueryEscape(id.String()), err
}

// stream sends a request of any length, which takes as long as it takes.
func (n *client) stream(ctx context.Context, method, path string, body io.ReadSeeker) (*http.Response, error) {
	n.http.Timeout = 0
	return renewing(ctx, n, func() (*http.Response, error) {
		if body == nil {
			return n.raw(ctx, method, path, "", nil)
		}
		if _, err := body.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
		return n.raw(ctx, method, path, "application/octet-stream", io.NopCloser(body))
	})
}

func blobPath(id string) (string, error) {
	if _, err := domain.ParseBlobID(id); err != nil {
		return "", fmt.Errorf("blob id %q: %w", id, err)
	}
	return "/admin-api/blobs/" + id, nil
}

type blobUpload struct {
	File    string `short:"f" required:"" type:"existingfile" help:"File to store."`
	Context string `short:"c" help:"Context to announce it to."`
}

func (u *blobUpload) Run(ctx context.Context, c *cli) (err error) {
	n, err := c.client()
	if err != nil {
		return err
	}
	f, err := os.Open(u.File)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	path, err := n.inContext(ctx, "/admin-api/blobs", u.Context)
	if err != nil {
		return err
	}
	resp, err := n.stream(ctx, http.MethodPut, path, f)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", n.url, err)
	}
	return show(c, json.RawMessage(answer), blobHead, func(b schema.Blob) [][]string { return [][]string{blobRow(b)} })
}

var blobHead = []string{"BLOB", "BYTES"}

func blobRow(b schema.Blob) []string {
	return []string{b.BlobID.String(), strconv.FormatUint(b.Size, 10)}
}

type blobDownload struct {
	Blob    string `short:"b" required:"" help:"Id of the blob."`
	To      string `short:"o" name:"output" aliases:"to" required:"" help:"File to write."`
	Context string `short:"c" help:"Context whose members are asked for it."`
}

// Run writes beside the file first: it is there as a whole or not at all.
func (d *blobDownload) Run(ctx context.Context, c *cli) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	path, err := blobPath(d.Blob)
	if err != nil {
		return err
	}
	if path, err = n.inContext(ctx, path, d.Context); err != nil {
		return err
	}
	resp, err := n.stream(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	f, err := os.CreateTemp(filepath.Dir(d.To), "."+filepath.Base(d.To)+"-*")
	if err != nil {
		return err
	}
	size, err := io.Copy(f, resp.Body)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), d.To)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("fetch blob %s: %w", d.Blob, err), os.Remove(f.Name()))
	}
	return c.say("wrote %d bytes to %s", size, d.To)
}

type blobInfo struct {
	Blob string `short:"b" required:"" help:"Id of the blob."`
}

func (i *blobInfo) Run(ctx context.Context, c *cli) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	path, err := blobPath(i.Blob)
	if err != nil {
		return err
	}
	resp, err := n.stream(ctx, http.MethodHead, path, nil)
	var answer *answerError
	if errors.As(err, &answer) && answer.status == http.StatusNotFound { // the answer to HEAD has no text
		return &answerError{status: answer.status, text: "Blob not found"}
	}
	if err != nil {
		return err
	}
	if err := resp.Body.Close(); err != nil {
		return err
	}
	b := schema.BlobInfo{Size: uint64(max(0, resp.ContentLength)), MIMEType: resp.Header.Get("X-Blob-MIME-Type")}
	if b.BlobID, err = domain.ParseBlobID(i.Blob); err != nil {
		return err
	}
	hash, err := domain.ParseHex32(resp.Header.Get("X-Blob-Hash"))
	if err != nil {
		return fmt.Errorf("read the node's answer: X-Blob-Hash: %w", err)
	}
	b.Hash = hash
	if c.Output == "json" {
		return c.json(schema.Of(b))
	}
	return c.table([]string{"BLOB", "BYTES", "SHA-256", "TYPE"},
		[][]string{append(blobRow(schema.Blob{BlobID: b.BlobID, Size: b.Size}), hex.EncodeToString(hash[:]), b.MIMEType)})
}

type blobList struct{}

func (blobList) Run(ctx context.Context, c *cli) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	answer, err := n.get(ctx, "/admin-api/blobs")
	if err != nil {
		return err
	}
	return show(c, answer, blobHead, func(l schema.Blobs) (rows [][]string) {
		for _, b := range l.Blobs {
			rows = append(rows, blobRow(b))
		}
		return rows
	})
}

type blobDelete struct {
	Blob string `short:"b" required:"" help:"Id of the blob."`
}

func (d *blobDelete) Run(ctx context.Context, c *cli) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	path, err := blobPath(d.Blob)
	if err != nil {
		return err
	}
	answer, err := n.ask(ctx, http.MethodDelete, path, nil)
	if err != nil {
		return err
	}
	return showBare(c, answer, []string{"BLOB", "DELETED"}, func(b schema.BlobDeleted) [][]string {
		return [][]string{{b.BlobID.String(), yes(b.Deleted)}}
	})
}
