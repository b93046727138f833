package api

import (
	"net/http"

	"github.com/calimero-go/core/core/api/schema"
	"github.com/calimero-go/core/core/apps"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

func (s *Server) installApplication(w http.ResponseWriter, r *http.Request) {
	var req schema.InstallApplicationRequest
	if !s.validJSON(w, r, &req) {
		return
	}
	id, err := s.deps.Apps.InstallURL(r.Context(), req.URL, req.Metadata, req.Hash)
	s.answerApplication(w, r, id, err)
}

func (s *Server) installDevApplication(w http.ResponseWriter, r *http.Request) {
	var req schema.InstallDevApplicationRequest
	if !s.validJSON(w, r, &req) {
		return
	}
	id, err := s.deps.Apps.InstallPath(r.Context(), req.Path, req.Metadata, orEmpty(req.Package), orEmpty(req.Version))
	s.answerApplication(w, r, id, err)
}

func orEmpty(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}

func (s *Server) answerApplication(w http.ResponseWriter, r *http.Request, id domain.ApplicationID, err error) {
	if err != nil {
		s.failureText(w, r, err)
		return
	}
	s.answerData(w, schema.ApplicationRef{ApplicationID: id})
}

func (s *Server) listApplications(w http.ResponseWriter, r *http.Request) {
	all, err := s.deps.Apps.List(r.Context())
	if err != nil {
		s.failure(w, r, err)
		return
	}
	list := schema.Applications{Apps: make([]schema.Application, len(all))}
	for i, a := range all {
		list.Apps[i] = application(a)
	}
	s.answerData(w, list)
}

func application(a apps.Application) schema.Application {
	return schema.Application{
		ID: a.ID, Blob: schema.ApplicationBlob{Bytecode: a.Bytecode, Compiled: a.Compiled}, Size: a.Size,
		Source: a.Source, Metadata: a.Metadata,
	}
}

func (s *Server) getApplication(w http.ResponseWriter, r *http.Request) {
	id, ok := pathID(w, r, "application_id", domain.ParseApplicationID)
	if !ok {
		return
	}
	a, found, err := s.deps.Apps.Get(r.Context(), id)
	if err != nil {
		s.failureText(w, r, err)
		return
	}
	var answer schema.MaybeApplication
	if found {
		app := application(a)
		answer.Application = &app
	}
	s.answerData(w, answer)
}

func (s *Server) uninstallApplication(w http.ResponseWriter, r *http.Request) {
	id, ok := pathID(w, r, "application_id", domain.ParseApplicationID)
	if !ok {
		return
	}
	s.answerApplication(w, r, id, s.deps.Apps.Uninstall(r.Context(), id))
}

func (s *Server) listPackages(w http.ResponseWriter, r *http.Request) {
	names, err := s.deps.Apps.Packages(r.Context())
	if err != nil {
		s.failure(w, r, err)
		return
	}
	s.answer(w, schema.Packages{Packages: orNone(names)})
}

func orNone[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func (s *Server) listVersions(w http.ResponseWriter, r *http.Request) {
	versions, err := s.deps.Apps.Versions(r.Context(), r.PathValue("package"))
	if err != nil {
		s.failure(w, r, err)
		return
	}
	s.answer(w, schema.Versions{Versions: orNone(versions)})
}

func (s *Server) latestVersion(w http.ResponseWriter, r *http.Request) {
	a, found, err := s.deps.Apps.Latest(r.Context(), r.PathValue("package"))
	if err != nil {
		s.failure(w, r, err)
		return
	}
	var answer schema.LatestVersion
	if found {
		answer.ApplicationID, answer.Version = &a.ID, &a.Version
	}
	s.answer(w, answer)
}
