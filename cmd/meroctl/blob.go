package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"

	"github.com/calimero-go/core/core/api/schema"
)

type blobCommand struct {
	Upload   blobUpload   `cmd:"" help:"Store a file."`
	Download blobDownload `cmd:"" help:"Fetch a blob into a file."`
	List     blobList     `cmd:"" aliases:"ls" help:"List the blobs."`
	Delete   blobDelete   `cmd:"" aliases:"rm" help:"Delete a blob."`
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
	path := "/admin-api/blobs"
	if u.Context != "" {
		id, err := n.context(ctx, u.Context)
		if err != nil {
			return err
		}
		path += "?context_id=" + url.QueryEscape(id.String())
	}
	n.http.Timeout = 0 // as long as it takes; ctx ends it
	resp, err := n.raw(ctx, http.MethodPut, path, "application/octet-stream", f)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return err
	}
	return show(c, json.RawMessage(answer), []string{"BLOB", "BYTES"}, func(b schema.Blob) [][]string {
		return [][]string{{b.BlobID.String(), strconv.FormatUint(b.Size, 10)}}
	})
}

type blobDownload struct {
	Blob   string `short:"b" required:"" help:"Id of the blob."`
	Output string `short:"o" name:"to" required:"" help:"File to write."`
}

func (d *blobDownload) Run(ctx context.Context, c *cli) error {
	n, err := c.client()
	if err != nil {
		return err
	}
	n.http.Timeout = 0
	resp, err := n.raw(ctx, http.MethodGet, "/admin-api/blobs/"+url.PathEscape(d.Blob), "", nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	f, err := os.Create(d.Output)
	if err != nil {
		return err
	}
	size, err := io.Copy(f, resp.Body)
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("fetch blob %s: %w", d.Blob, err), os.Remove(d.Output))
	}
	return c.say("wrote %d bytes to %s", size, d.Output)
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
	return show(c, answer, []string{"BLOB", "BYTES"}, func(l schema.Blobs) (rows [][]string) {
		for _, b := range l.Blobs {
			rows = append(rows, []string{b.BlobID.String(), strconv.FormatUint(b.Size, 10)})
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
	answer, err := n.ask(ctx, http.MethodDelete, "/admin-api/blobs/"+url.PathEscape(d.Blob), nil)
	if err != nil {
		return err
	}
	return c.json(answer)
}
