package schema

import (
	"errors"
	"fmt"
	"net/url"

	"github.com/calimero-go/core/core/api/jsonvalue"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// InstallApplicationRequest installs from a URL. Package and Version are checked and not used: a bundle names its own.
type InstallApplicationRequest struct {
	URL      string       `json:"url"` // absolute and normalised
	Hash     *domain.Hash `json:"hash"`
	Metadata IntBytes     `json:"metadata"`
	Package  *string      `json:"package"`
	Version  *string      `json:"version"`
}

// Read implements Request.
func (r *InstallApplicationRequest) Read(o *jsonvalue.Object) {
	if v, ok := o.Required("url"); ok {
		v.Parse(func(text string) (err error) {
			r.URL, err = normaliseURL(text)
			return err
		})
	}
	r.Hash = jsonvalue.OptionalInto[domain.Hash](o, "hash")
	r.Metadata = o.Bytes("metadata")
	r.Package = o.OptionalText("package")
	r.Version = o.OptionalText("version")
}

func normaliseURL(text string) (string, error) {
	u, err := url.Parse(text)
	switch {
	case err == nil && u.Scheme == "":
		return "", fmt.Errorf("relative URL without a base: %q", text)
	case err != nil:
		var e *url.Error
		if errors.As(err, &e) {
			err = e.Err
		}
		return "", fmt.Errorf("%w: %q", err, text)
	}
	if u.Path == "" && u.Host != "" {
		u.Path = "/"
	}
	return u.String(), nil
}

// Validate implements Request.
func (r *InstallApplicationRequest) Validate() []string {
	var f faults
	f.text("url", r.URL, MaxURL)
	f.bytes("metadata", len(r.Metadata), MaxMetadata)
	f.optional("package", r.Package, MaxPackage)
	f.optional("version", r.Version, MaxVersion)
	return f
}

// InstallDevApplicationRequest installs a file of the node's machine.
type InstallDevApplicationRequest struct {
	Path     string   `json:"path"`
	Metadata IntBytes `json:"metadata"`
	Package  *string  `json:"package"`
	Version  *string  `json:"version"`
}

// Read implements Request.
func (r *InstallDevApplicationRequest) Read(o *jsonvalue.Object) {
	r.Path = o.Text("path")
	r.Metadata = o.Bytes("metadata")
	r.Package = o.OptionalText("package")
	r.Version = o.OptionalText("version")
}

// Validate implements Request.
func (r *InstallDevApplicationRequest) Validate() []string {
	var f faults
	f.text("path", r.Path, MaxPath)
	f.bytes("metadata", len(r.Metadata), MaxMetadata)
	f.optional("package", r.Package, MaxPackage)
	f.optional("version", r.Version, MaxVersion)
	return f
}

// Data wraps most answers.
type Data[T any] struct {
	Data T `json:"data"`
}

// Of wraps an answer.
func Of[T any](v T) Data[T] { return Data[T]{v} }

// ApplicationRef names an application.
type ApplicationRef struct {
	ApplicationID domain.ApplicationID `json:"applicationId"`
}

// Application describes an installed application.
type Application struct {
	ID       domain.ApplicationID `json:"id"`
	Blob     ApplicationBlob      `json:"blob"`
	Size     uint64               `json:"size"`
	Source   string               `json:"source"`
	Metadata IntBytes             `json:"metadata"`
}

// ApplicationBlob names an application's code; Compiled is zero for none.
type ApplicationBlob struct {
	Bytecode domain.BlobID `json:"bytecode"`
	Compiled domain.BlobID `json:"compiled"`
}

// Applications is the answer of a list.
type Applications struct {
	Apps []Application `json:"apps"`
}

// MaybeApplication is the answer of a get; nil is no such application.
type MaybeApplication struct {
	Application *Application `json:"application"`
}

// Packages is the answer of a list, without Data.
type Packages struct {
	Packages []string `json:"packages"`
}

// Versions is the answer of a list, without Data.
type Versions struct {
	Versions []string `json:"versions"`
}

// LatestVersion is the answer of a get, without Data; both are nil for an unknown package.
type LatestVersion struct {
	ApplicationID *domain.ApplicationID `json:"applicationId"`
	Version       *string               `json:"version"`
}
