FROM mcr.microsoft.com/windows/nanoserver:ltsc2022
COPY app.exe C:/app/
WORKDIR C:/app
RUN setx /M PATH "%PATH%;C:\app" && del C:\temp\x.txt
USER ContainerUser
ENTRYPOINT ["app.exe"]
