{{- /* Without a pool it is the main Service. */ -}}
{{- define "lora-api.routeBackend" -}}
{{- $name := list (include "lora-api.fullname" .root) .name | compact | join "-" -}}
{{- if dig "inferencePool" "enabled" false (default dict .pool) -}}
- group: inference.networking.k8s.io
  kind: InferencePool
  name: {{ $name }}
{{- else -}}
- name: {{ $name }}
  port: {{ .root.Values.service.port }}
{{- end -}}
{{- end -}}

{{- /* One rule: dict "root" "name" "pool" and, for a pool's own models only, "models". */ -}}
{{- define "lora-api.routeRule" -}}
{{- $header := .root.Values.httpRoute.modelHeader -}}
{{- $matches := list -}}
{{- range $path := .root.Values.httpRoute.paths -}}
{{- $match := dict "path" (dict "type" "PathPrefix" "value" $path) -}}
{{- range $model := $.models -}}
{{- $adapters := printf "ft:%s:.+" (replace "." "\\." $model.id) -}}
{{- $exact := dict "type" "Exact" "name" $header "value" $model.id -}}
{{- $regex := dict "type" "RegularExpression" "name" $header "value" $adapters -}}
{{- range $value := list $exact $regex -}}
{{- $matches = append $matches (merge (dict "headers" (list $value)) $match) -}}
{{- end -}}
{{- else -}}
{{- $matches = append $matches $match -}}
{{- end -}}
{{- end -}}
- matches:
    {{- toYaml $matches | nindent 4 }}
  {{- with .root.Values.httpRoute.requestTimeout }}
  timeouts:
    request: {{ . }}
  {{- end }}
  backendRefs:
    {{- include "lora-api.routeBackend" . | nindent 4 }}
{{- end -}}
