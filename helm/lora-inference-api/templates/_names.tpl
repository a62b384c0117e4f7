{{- define "lora-api.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- /* At most 40 characters, so that a pool's name and the suffixes of controllers find room. */ -}}
{{- define "lora-api.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "lora-api.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "lora-api.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "lora-api.selectorLabels" -}}
app.kubernetes.io/name: {{ include "lora-api.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "lora-api.labels" -}}
{{ include "lora-api.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* What selects the pods of one pool: dict "root" $ "name" pool. */ -}}
{{- define "lora-api.poolSelector" -}}
{{ include "lora-api.selectorLabels" .root }}
app.kubernetes.io/component: server
lora-inference-api/pool: {{ .name }}
{{- end -}}

{{- /* What selects the pods of every pool that listen, so no Ray workers. */ -}}
{{- define "lora-api.listenerSelector" -}}
{{ include "lora-api.selectorLabels" . }}
app.kubernetes.io/component: server
lora-inference-api/answers: "true"
{{- end -}}

{{- define "lora-api.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "lora-api.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- /* An image reference: dict "root" $ "variant" variant. */ -}}
{{- define "lora-api.image" -}}
{{- $image := .root.Values.image -}}
{{- with index $image.digests .variant -}}
{{- printf "%s@%s" $image.repository . -}}
{{- else -}}
{{- printf "%s:%s-%s" $image.repository (default .root.Chart.AppVersion $image.tag) .variant -}}
{{- end -}}
{{- end -}}

{{- define "lora-api.podSecurity" -}}
runAsNonRoot: true
{{- range $name, $id := .Values.securityContext }}
{{- if not (kindIs "invalid" $id) }}
{{ $name }}: {{ int64 $id }}
{{- end }}
{{- end }}
{{- if .Values.securityContext.fsGroup }}
fsGroupChangePolicy: OnRootMismatch
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "lora-api.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
privileged: false
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}
