{{- /* One rule: dict "to" peers "ports" numbers. No peers are all addresses. */ -}}
{{- define "lora-api.egressRule" -}}
- ports:
    {{- range .ports }}
    - protocol: TCP
      port: {{ int . }}
    {{- end }}
  {{- with .to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "lora-api.egressDns" -}}
- ports:
    - protocol: UDP
      port: 53
    - protocol: TCP
      port: 53
{{- end -}}

{{- /* 443, for the identity service too, and the port of an endpoint of one's own. */ -}}
{{- define "lora-api.storePorts" -}}
{{- $ports := list 443 -}}
{{- with .Values.store.endpointUrl -}}
{{- $url := urlParse . -}}
{{- $port := ternary 80 443 (eq $url.scheme "http") -}}
{{- $named := regexFind ":[0-9]+$" $url.host | trimPrefix ":" -}}
{{- $ports = append $ports (int (default $port $named)) -}}
{{- end -}}
{{- $ports | uniq | toJson -}}
{{- end -}}

{{- /* Peers with which a pool exchanges requests: dict "root" $ "name" pool. */ -}}
{{- define "lora-api.podsOfOtherPools" -}}
{{- with without (keys .root.Values.pools | sortAlpha) .name -}}
- podSelector:
    matchLabels:
      {{- include "lora-api.selectorLabels" $.root | nindent 6 }}
      app.kubernetes.io/component: server
    matchExpressions:
      - key: lora-inference-api/pool
        operator: In
        values: {{ toJson . }}
{{- end -}}
{{- end -}}
