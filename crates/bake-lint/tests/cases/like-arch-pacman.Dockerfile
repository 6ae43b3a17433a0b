FROM archlinux:base-devel-20241110.0.278197
RUN pacman -Syu --noconfirm --needed git go && pacman -Scc --noconfirm
RUN useradd -m builder && echo 'builder ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/builder
USER builder
WORKDIR /home/builder
RUN git clone https://aur.archlinux.org/yay.git && cd yay && makepkg -si --noconfirm
RUN sudo pacman -Rns --noconfirm go
