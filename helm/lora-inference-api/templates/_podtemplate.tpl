{{- /* Metadata and spec of a pool's pods: as lora-api.podSpec. */ -}}
{{- define "lora-api.podTemplate" -}}
metadata:
  labels:
    {{- include "lora-api.poolSelector" . | nindent 4 }}
    {{- if ne .role "worker" }}
    lora-inference-api/answers: "true"
    {{- end }}
    {{- with .root.Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/config: {{ include "lora-api.config" . | sha256sum }}
    {{- with .root.Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- include "lora-api.podSpec" . | nindent 2 }}
{{- end -}}
