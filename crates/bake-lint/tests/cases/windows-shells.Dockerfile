# escape=`
FROM mcr.microsoft.com/windows/servercore:ltsc2022 AS core
SHELL ["powershell", "-Command", "$ErrorActionPreference = 'Stop';"]
RUN Get-ChildItem C:\ | Select-Object -First 1
WORKDIR C:\app
RUN Invoke-WebRequest https://example.com/a.zip -OutFile a.zip; Remove-Item a.zip
FROM mcr.microsoft.com/powershell:7.4-nanoserver-ltsc2022
SHELL ["pwsh", "-Command"]
RUN $x = 'a b'; Write-Output $x | Out-File C:\y
COPY --from=core C:\app .
CMD dir C:\
